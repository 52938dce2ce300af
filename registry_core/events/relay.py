"""The relay: gives committed events their place in one dense sequence, which every consumer follows.

Ids come from a sequence and are not commit order. The relay locks its own row (the fence: two relays cannot both hold
it), numbers what is committed and not yet numbered, and moves on in the same transaction.
"""

from __future__ import annotations

from typing import Final

from django.db import connection, transaction

from registry_core.events.consumers import locked_place

BATCH: Final = 5000
CURSOR: Final = "relay"
_PLACE: Final = "SELECT seq FROM events_cursor WHERE name = %s FOR UPDATE SKIP LOCKED"

_STAMP = """
    WITH fresh AS (
        SELECT id, at, row_number() OVER (ORDER BY id) AS place
        FROM (SELECT id, at FROM events_event WHERE seq IS NULL ORDER BY id LIMIT %s) AS unnumbered
    )
    UPDATE events_event AS event SET seq = %s + fresh.place
    FROM fresh WHERE event.id = fresh.id AND event.at = fresh.at
"""


@transaction.atomic
def relay() -> int:
    """Number the committed events that have no number yet; how many there were. Does nothing while another relay
    runs."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM events_event WHERE seq IS NULL ORDER BY id LIMIT 1")
        if cursor.fetchone() is None:
            return 0
        seq = locked_place(cursor, CURSOR, _PLACE)
        if seq is None:
            return 0
        cursor.execute(_STAMP, [BATCH, seq])
        stamped: int = cursor.rowcount
        cursor.execute("UPDATE events_cursor SET seq = seq + %s WHERE name = 'relay'", [stamped])
    return stamped
