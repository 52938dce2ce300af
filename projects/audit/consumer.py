"""Writes the audit log: follows the outbox by `seq`, and makes an entry of each event.

Its place in the outbox moves on in the transaction of the entries, and an event makes one entry only: killed or run
twice, nothing is lost and nothing is there twice.
"""

from __future__ import annotations

from typing import Final

from django.db import transaction

from projects.audit.mapping import entry_of, event_type
from projects.audit.models import AuditEntry
from projects.audit.names import names_in
from registry_core.events.consumers import locked_place, move_on
from registry_core.events.models import Event
from registry_core.settings_store.values import current

CURSOR: Final = "audit"
BATCH: Final = 1000


def write_entries() -> int:
    """Make entries of the events that have come since the last time; how many events there were."""
    total = 0
    while count := _write_batch():
        total += count
        if count < BATCH:
            break
    return total


@transaction.atomic
def _write_batch() -> int:
    seq = locked_place(CURSOR)
    if seq is None:
        return 0
    events = list(Event.objects.filter(seq__gt=seq).order_by("seq")[:BATCH])
    if not events:
        return 0
    _store(events)
    move_on(CURSOR, events[-1].seq or seq)
    return len(events)


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
