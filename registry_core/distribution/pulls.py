"""Pull counts and times: collected in memory, written every few seconds. kill -9 loses what was not written yet.

Pull events are collected likewise: one event per subject, artifact and reference in each interval, with a count, so
that a pull writes nothing itself and 30,000 pulls a second do not make 30,000 rows.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import structlog
from psycopg_pool import AsyncConnectionPool

from registry_core.access import Subject
from registry_core.content.events import ArtifactPulled
from registry_core.events.bell import ring
from registry_core.events.kinds import kind_of
from registry_core.events.outbox import as_json
from registry_core.machine.state import machine_id
from registry_core.settings_store.values import Settings, acurrent

FLUSH_S = 5.0
_KIND_BITS = 2
Pull = tuple[int, str, int]
"""An artifact, the tag (empty: none) and the subject, as one number, because every pull computes its hash."""
_log = structlog.get_logger(__name__)

_FLUSH = """
    WITH pulled AS (SELECT * FROM unnest(%s::bigint[], %s::text[], %s::bigint[]) AS pulled (id, tag, pulls)),
    counted AS (
        UPDATE content_artifact AS artifact SET pull_count = pull_count + CASE WHEN %s THEN sums.pulls ELSE 0 END,
            pulled_at = CASE WHEN %s THEN now() ELSE pulled_at END
        FROM (SELECT id, sum(pulls) AS pulls FROM pulled GROUP BY id ORDER BY id) AS sums WHERE artifact.id = sums.id
    ),
    sums AS (
        SELECT repository_id, sum(pulls) AS pulls FROM pulled JOIN content_artifact USING (id)
        WHERE %s GROUP BY repository_id ORDER BY repository_id
    ),
    summed AS (
        UPDATE content_repository AS repository SET pull_count = repository.pull_count + sums.pulls
        FROM sums WHERE repository.id = sums.repository_id
        AND repository.id = ANY(ARRAY(SELECT repository_id FROM sums))  -- by the key, however many Postgres expects
    )
    UPDATE content_tag AS tag SET pulled_at = now()
    FROM pulled WHERE %s AND pulled.tag <> '' AND tag.artifact_id = pulled.id AND tag.name = pulled.tag
    AND tag.deleted_at IS NULL
"""
_TELL = """
    INSERT INTO events_event (kind, project_id, repository_id, subject_kind, subject_id, payload, changed, origin)
    SELECT %s, repository.project_id, repository.id, pulled.subject_kind, pulled.subject_id, pulled.payload, '{}', %s
    FROM unnest(%s::bigint[], %s::smallint[], %s::bigint[], %s::jsonb[])
         AS pulled (id, subject_kind, subject_id, payload)
    JOIN content_artifact AS artifact ON artifact.id = pulled.id
    JOIN content_repository AS repository ON repository.id = artifact.repository_id
"""


class PullCounter:
    """Counts the pulls of one worker."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool
        self._pulls: Counter[Pull] = Counter()

    def count(self, pull: Pull) -> None:
        """Count a pull."""
        self._pulls[pull] += 1

    async def flush(self) -> None:
        """Write what was collected; if the database does not answer it is kept for the next time."""
        pulls, self._pulls = self._pulls, Counter()
        if not pulls:
            return
        try:
            await self._write(pulls, await acurrent())
        except Exception as error:
            self._pulls.update(pulls)
            _log.warning("pull counts are kept for later", reason=str(error))

    async def _write(self, pulls: Counter[Pull], settings: Settings) -> None:
        has_counts = not settings.truth("pull_count_update_disable")
        has_times = not settings.truth("pull_time_update_disable")
        async with self._pool.connection() as connection, connection.transaction():
            if has_counts or has_times:
                await connection.execute(_FLUSH, [*_by_reference(pulls), has_counts, has_times, has_counts, has_times])
            if not settings.truth("pull_audit_log_disable"):
                await connection.execute(_TELL, [kind_of(ArtifactPulled).name, machine_id(), *_by_subject(pulls)])
        ring()

    async def run(self) -> None:
        """Flush for ever."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()


def pull_of(artifact_id: int, tag: str, subject: Subject) -> Pull:
    """A pull of an artifact, by a tag or (empty) by digest."""
    return artifact_id, tag, subject.id << _KIND_BITS | subject.kind


def _by_reference(pulls: Counter[Pull]) -> list[list[Any]]:
    """The columns of `pulled`: each artifact and tag once, over all subjects."""
    sums: Counter[tuple[int, str]] = Counter()
    for (artifact_id, tag, _), number in pulls.items():
        sums[artifact_id, tag] += number
    keys = sorted(sums)
    return [[key[0] for key in keys], [key[1] for key in keys], [sums[key] for key in keys]]


def _by_subject(pulls: Counter[Pull]) -> list[list[Any]]:
    keys = sorted(pulls)
    kinds = [key[2] & (1 << _KIND_BITS) - 1 for key in keys]
    subject_ids = [key[2] >> _KIND_BITS for key in keys]
    events = [as_json(ArtifactPulled(artifact=key[0], tag=key[1], pulls=pulls[key])) for key in keys]
    return [[key[0] for key in keys], kinds, subject_ids, events]
