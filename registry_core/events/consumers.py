"""What every consumer of the outbox does: it keeps its place, in the transaction of what it makes of the events."""

from __future__ import annotations

from django.db import connection

from registry_core.events.models import Cursor


def locked_place(name: str) -> int | None:
    """The `seq` of the last event that the consumer has dealt with; None while another process is at it.

    The place is locked until the end of the transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO events_cursor (name, seq) VALUES (%s, 0) ON CONFLICT DO NOTHING", [name])
        cursor.execute("SELECT seq FROM events_cursor WHERE name = %s FOR UPDATE SKIP LOCKED", [name])
        row = cursor.fetchone()
    return row[0] if row else None


def move_on(name: str, seq: int) -> None:
    """Remember that the consumer has dealt with all events up to `seq`."""
    Cursor.objects.filter(name=name).update(seq=seq)
