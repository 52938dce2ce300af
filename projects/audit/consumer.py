"""Writes the audit log: follows the outbox by `seq`, and makes an entry of each event.

Its place in the outbox moves on in the transaction of the entries, and an event makes one entry only: killed or run
twice, nothing is lost and nothing is there twice.
"""

from __future__ import annotations

from typing import Final

from projects.audit.mapping import entry_of, event_type
from projects.audit.models import AuditEntry
from projects.audit.names import names_in
from registry_core.events.consumers import consume
from registry_core.events.models import Event
from registry_core.settings_store.values import current

CURSOR: Final = "audit"
BATCH: Final = 1000


def write_entries() -> int:
    """Make entries of the events that have come since the last time; how many events there were."""
    return consume(CURSOR, _store, batch=BATCH)


def _store(events: list[Event]) -> None:
    settings = current()
    if settings.truth("skip_audit_log_database"):
        return
    disabled = {word.strip() for word in settings.text("disabled_audit_log_event_types").split(",")}
    names = names_in(events)
    entries = [entry_of(event, names) for event in events]
    AuditEntry.objects.bulk_create(
        [entry for entry in entries if event_type(entry) not in disabled], ignore_conflicts=True
    )
