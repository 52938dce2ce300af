"""Changing settings: all that are named, or none, in one transaction with its event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from django.db import connection, transaction
from psycopg.types.json import Jsonb

from registry_core.access import Subject
from registry_core.errors import NotAllowed
from registry_core.events.outbox import emit
from registry_core.settings_store.encryption import encrypt
from registry_core.settings_store.keys import KEYS, Value, key_named, parsed
from registry_core.settings_store.values import GENERATION, Settings, current
from registry_core.state import generations

Check = Callable[[Value], None]
_checks: Final[dict[str, Check]] = {}
_UPSERT: Final = """
    INSERT INTO settings_store_storedsetting (key, value) VALUES (%s, %s)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = now()
"""


def register_check(name: str, check: Check) -> None:
    """Have `check` asked before the setting is changed; it refuses by raising an OperationError. From `ready`."""
    _checks[key_named(name).name] = check


def why_not_editable(name: str, settings: Settings) -> str:
    """What stands in the way of changing a setting to whatever value; empty: nothing."""
    return "it is set by the environment of the registry" if name in settings.locked else ""


def change(*, values: Mapping[str, object], by: Subject) -> None:
    """Set settings by name; what is not named stays, and what is given as it is already is no change.

    Raises InvalidInput, NotAllowed for a setting that the environment sets, or what a registered check raises.
    """
    for name in values:
        key_named(name)
    with generations().changing([GENERATION]), transaction.atomic():
        settings = current()
        wanted = parsed({name: value for name, value in values.items() if not _is_as_it_is(name, value, settings)})
        for name, value in wanted.items():
            _check(name, value, settings)
        _write(wanted)
        if wanted:
            emit(kind="configuration.updated", subject=by, payload=_told(wanted), changed=[GENERATION])


def _is_as_it_is(name: str, value: object, settings: Settings) -> bool:
    now = settings.text(name) if KEYS[name].is_secret else settings.values[name]
    return type(value) is type(now) and value == now


def _check(name: str, value: Value, settings: Settings) -> None:
    if obstacle := why_not_editable(name, settings):
        raise NotAllowed(f"{name} cannot be changed: {obstacle}")
    if name in _checks:
        _checks[name](value)


def _write(wanted: Mapping[str, Value]) -> None:
    with connection.cursor() as cursor:
        for name, value in sorted(wanted.items()):
            kept = encrypt(value) if KEYS[name].is_secret and isinstance(value, str) and value else value
            cursor.execute(_UPSERT, [name, Jsonb(kept)])


def _told(wanted: Mapping[str, Value]) -> dict[str, Any]:
    """What the event says: each new value, of a secret only that it was changed."""
    return {"values": {name: "***" if KEYS[name].is_secret else value for name, value in sorted(wanted.items())}}
