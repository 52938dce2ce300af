"""When each repository was last pushed to, stored in its row for lists that are sorted by it.

A push does not write it, because all pushes to one repository would then wait for each other: a consumer of the outbox
does, a second or two later.
"""

from __future__ import annotations

from typing import Final

from django.db import connection

from registry_core.content.events import ArtifactPushed
from registry_core.events.consumers import consume
from registry_core.events.kinds import kind_of
from registry_core.events.models import Event

CURSOR: Final = "push times"
BATCH: Final = 5000
PUSHED: Final = kind_of(ArtifactPushed).name

_NOTE = """
    WITH locked AS (SELECT id FROM content_repository WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE)
    UPDATE content_repository AS repository SET changed_at = greatest(changed_at, (
        SELECT pushed_at FROM content_artifact AS artifact
        WHERE artifact.repository_id = repository.id AND artifact.deleted_at IS NULL ORDER BY artifact.id DESC LIMIT 1
    ))
    FROM locked WHERE repository.id = locked.id
"""


def note_push_times() -> int:
    """Write the pushes since the last run; returns the number of events."""
    return consume(CURSOR, _note, batch=BATCH)


def _note(events: list[Event]) -> None:
    pushed = {event.repository_id for event in events if event.kind == PUSHED}
    if pushed:
        with connection.cursor() as cursor:
            cursor.execute(_NOTE, [sorted(filter(None, pushed))])
