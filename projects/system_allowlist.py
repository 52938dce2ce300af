"""The system allowlist: vulnerabilities that are allowed in all projects without an allowlist of their own."""

from __future__ import annotations

from typing import Any, Final

from django.db import transaction
from django.db.models.functions import Now

from registry_core.access import Cause
from registry_core.events.outbox import emit
from registry_core.settings_store.events import ConfigurationUpdated
from registry_core.settings_store.models import StoredSetting

KEY: Final = "cve_allowlist"
_NAMED_MAX: Final = 50


def system_allowlist() -> StoredSetting | None:
    """What is stored: `items`, and `expires_at` in seconds since the epoch or None; None if it was never set."""
    return StoredSetting.objects.filter(key=KEY).first()


def set_system_allowlist(*, allowlist: dict[str, Any], cause: Cause) -> None:
    """Replace the allowlist by `items` and `expires_at`."""
    with transaction.atomic():
        values = {"value": allowlist, "updated_at": Now()}
        StoredSetting.objects.update_or_create(key=KEY, defaults=values)
        emit(ConfigurationUpdated(values={KEY: _described(allowlist)}), cause=cause)


def _described(allowlist: dict[str, Any]) -> str:
    """A description for the audit log."""
    items: list[str] = allowlist["items"]
    more = f" and {len(items) - _NAMED_MAX} more" if len(items) > _NAMED_MAX else ""
    until = f", until {allowlist['expires_at']}" if allowlist["expires_at"] else ""
    return f"{' '.join(items[:_NAMED_MAX]) or 'empty'}{more}{until}"
