"""Pull counts and times: gathered in memory, written every few seconds. kill -9 loses what was not written yet."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import structlog
from psycopg_pool import AsyncConnectionPool

FLUSH_S = 5.0
_log = structlog.get_logger(__name__)

_FLUSH = """
    WITH pulled AS (SELECT * FROM unnest(%s::bigint[], %s::text[], %s::bigint[]) AS pulled (id, tag, pulls)),
    counted AS (
        UPDATE content_artifact AS artifact SET pull_count = pull_count + sums.pulls, pulled_at = now()
        FROM (SELECT id, sum(pulls) AS pulls FROM pulled GROUP BY id ORDER BY id) AS sums WHERE artifact.id = sums.id
    ),
    summed AS (
        UPDATE content_repository AS repository SET pull_count = repository.pull_count + sums.pulls
        FROM (SELECT repository_id, sum(pulls) AS pulls FROM pulled JOIN content_artifact USING (id)
              GROUP BY repository_id ORDER BY repository_id) AS sums WHERE repository.id = sums.repository_id
    )
    UPDATE content_tag AS tag SET pulled_at = now()
    FROM pulled WHERE pulled.tag <> '' AND tag.artifact_id = pulled.id AND tag.name = pulled.tag
    AND tag.deleted_at IS NULL
"""


class PullCounter:
    """Counts the pulls of one worker."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool
        self._pulls: Counter[tuple[int, str]] = Counter()

    def count(self, artifact_id: int, tag: str) -> None:
        """One pull of an artifact, by a tag or (empty) by digest."""
        self._pulls[artifact_id, tag] += 1

    async def flush(self) -> None:
        """Write what was gathered; when the database does not answer it is kept for the next time."""
        pulls, self._pulls = self._pulls, Counter()
        if not pulls:
            return
        keys = sorted(pulls)
        values = [[key[0] for key in keys], [key[1] for key in keys], [pulls[key] for key in keys]]
        try:
            async with self._pool.connection() as connection:
                await connection.execute(_FLUSH, values)
        except Exception as error:
            self._pulls.update(pulls)
            _log.warning("pull counts are kept for later", reason=str(error))

    async def run(self) -> None:
        """Flush for ever."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()
