"""Changing settings: all of the given ones or none, in one transaction with its event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from django.db import connection, transaction
from psycopg.types.json import Jsonb

from registry_core.access import Cause
from registry_core.config.keys import KEYS, Value, key_named, parsed
from registry_core.errors import InvalidInput, NotAllowed
from registry_core.events.outbox import emit
from registry_core.machine.state import generations
from registry_core.settings_store.encryption import encrypt
from registry_core.settings_store.events import ConfigurationUpdated
from registry_core.settings_store.values import GENERATION, Settings, current

SKIP: Final = "skip_audit_log_database"
DISABLED: Final = "disabled_audit_log_event_types"
FORWARD: Final = "audit_log_forward_endpoint"
LOG_SETTINGS: Final = frozenset({SKIP, DISABLED, FORWARD, "pull_audit_log_disable"})
"""The settings of the audit log itself."""
Obstacle = Callable[[], str]
_obstacles: Final[dict[str, Obstacle]] = {}
_UPSERT: Final = """
    INSERT INTO settings_store_storedsetting (key, value) VALUES (%s, %s)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = now()
"""


def register_obstacle(name: str, obstacle: Obstacle) -> None:
    """Register a function that returns the reason why a setting cannot be changed now; empty: it can. From `ready`."""
    _obstacles[key_named(name).name] = obstacle


def is_editable(name: str, settings: Settings) -> bool:
    """Whether the setting can be changed now."""
    return name not in settings.locked and not _obstacle(name)


def change(*, values: Mapping[str, object], cause: Cause) -> None:
    """Set settings by name; others are unchanged, and setting a value that is already set is not a change.

    Raises InvalidInput, or NotAllowed for a setting that the environment sets.
    """
    for name in values:
        key_named(name)
    with generations().changing([GENERATION]), transaction.atomic():
        settings = current()
        wanted = parsed({name: value for name, value in values.items() if not _is_as_it_is(name, value, settings)})
        for name in wanted:
            _check_editable(name, settings)
        _check_log_is_somewhere(settings, wanted)
        _write(wanted)
        if wanted:
            emit(ConfigurationUpdated(values=_shown(wanted)), cause=cause, changed=[GENERATION])


def _is_as_it_is(name: str, value: object, settings: Settings) -> bool:
    now = settings.text(name) if KEYS[name].is_secret else settings.values[name]
    return type(value) is type(now) and value == now


def _check_editable(name: str, settings: Settings) -> None:
    if name in settings.locked:
        raise NotAllowed(f"{name} cannot be changed here: the environment of the registry sets it")
    if obstacle := _obstacle(name):
        raise InvalidInput(f"{name} cannot be changed: {obstacle}")


def _check_log_is_somewhere(settings: Settings, wanted: Mapping[str, Value]) -> None:
    """Raises InvalidInput if this change would leave the audit log without a destination."""
    after = {**settings.values, **wanted}
    if {SKIP, FORWARD} & wanted.keys() and after[SKIP] is True and not str(after[FORWARD]).strip():
        raise InvalidInput(f"{SKIP} needs {FORWARD}: set where the audit log is sent, or keep it in the database")


def _obstacle(name: str) -> str:
    return _obstacles[name]() if name in _obstacles else ""


def _write(wanted: Mapping[str, Value]) -> None:
    with connection.cursor() as cursor:
        for name, value in sorted(wanted.items()):
            kept = encrypt(value) if KEYS[name].is_secret and isinstance(value, str) and value else value
            row: list[Any] = [name, Jsonb(kept)]
            cursor.execute(_UPSERT, row)


def _shown(wanted: Mapping[str, Value]) -> dict[str, Any]:
    """The event's payload: each new value; for a secret only that it was changed."""
    return {name: "***" if KEYS[name].is_secret else value for name, value in sorted(wanted.items())}
