"""How a consumer follows the outbox: its place moves on in the transaction of what it makes of the events."""

from __future__ import annotations

from collections.abc import Callable

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from registry_core.events.models import Cursor, Event

# Hardly ever is there anything at rest, which the relay's own place tells without a look at the events.
_PLACE = """
    SELECT seq FROM events_cursor
    WHERE name = %s AND seq < (SELECT seq FROM events_cursor WHERE name = 'relay') FOR UPDATE SKIP LOCKED
"""
_FIRST = "INSERT INTO events_cursor (name, seq) VALUES (%s, 0) ON CONFLICT DO NOTHING RETURNING seq"


def consume(name: str, deal_with: Callable[[list[Event]], None], *, batch: int) -> int:
    """Have a consumer deal with the events that have come since the last time, `batch` of them in a transaction; how
    many there were. Does nothing while another process is at it."""
    total = 0
    while count := _consume_batch(name, deal_with, batch):
        total += count
        if count < batch:
            break
    return total


@transaction.atomic
def _consume_batch(name: str, deal_with: Callable[[list[Event]], None], batch: int) -> int:
    with connection.cursor() as cursor:
        seq = locked_place(cursor, name, _PLACE)
    if seq is None:
        return 0
    events = list(Event.objects.filter(seq__gt=seq).order_by("seq")[:batch])
    if not events:
        return 0
    deal_with(events)
    Cursor.objects.filter(name=name).update(seq=events[-1].seq)
    return len(events)


def locked_place(cursor: CursorWrapper, name: str, statement: str) -> int | None:
    """How far the cursor `name` has come, locked by `statement`, which takes its name; None when that finds nothing to
    do, or while another process is at it. The first time there is no row yet: then it is made."""
    cursor.execute(statement, [name])
    row = cursor.fetchone()
    if row is None:
        cursor.execute(_FIRST, [name])
        row = cursor.fetchone()
    return row[0] if row else None
