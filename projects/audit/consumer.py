"""Writes the audit log: follows the outbox by `seq`, and makes an entry of each event.

Its place in the outbox moves on in the transaction of the entries, and an event makes one entry only: killed or run
twice, nothing is lost and nothing is there twice.
"""

from __future__ import annotations

from typing import Final

from django.db import connection, transaction

from projects.audit.mapping import entry_of, event_type
from projects.audit.models import AuditEntry
from projects.audit.names import names_in
from registry_core.events.models import Cursor, Event
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
    seq = _locked_place()
    if seq is None:
        return 0
    events = list(Event.objects.filter(seq__gt=seq).order_by("seq")[:BATCH])
    if not events:
        return 0
    _store(events)
    Cursor.objects.filter(name=CURSOR).update(seq=events[-1].seq)
    return len(events)


def _locked_place() -> int | None:
    """How far the log has come; None while another process writes it."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO events_cursor (name, seq) VALUES (%s, 0) ON CONFLICT DO NOTHING", [CURSOR])
        cursor.execute("SELECT seq FROM events_cursor WHERE name = %s FOR UPDATE SKIP LOCKED", [CURSOR])
        row = cursor.fetchone()
    return row[0] if row else None


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
