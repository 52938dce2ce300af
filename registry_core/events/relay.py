"""The relay: gives committed events their place in one dense sequence, which every consumer follows.

Ids come from a sequence and are not commit order. The relay locks its own row (the fence: two relays cannot both hold
it), numbers what is committed and not yet numbered, and moves on in the same transaction.
"""

from __future__ import annotations

from django.db import connection, transaction

BATCH = 5000

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
        cursor.execute("INSERT INTO events_cursor (name, seq) VALUES ('relay', 0) ON CONFLICT DO NOTHING")
        cursor.execute("SELECT seq FROM events_cursor WHERE name = 'relay' FOR UPDATE SKIP LOCKED")
        row = cursor.fetchone()
        if row is None:
            return 0
        cursor.execute(_STAMP, [BATCH, row[0]])
        stamped: int = cursor.rowcount
        cursor.execute("UPDATE events_cursor SET seq = seq + %s WHERE name = 'relay'", [stamped])
    return stamped
