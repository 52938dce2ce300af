"""Links that no manifest uses: removed when their grace period is over, so that their blobs become garbage.

Every blob is pushed before the manifest that uses it, so each link is looked at once, when its first grace period is
over. Those that a client was promised for longer are put into the queue.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from django.db import connection

from registry_core.access import Cause
from registry_core.content import garbage
from registry_core.content.events import LinksExpired
from registry_core.content.garbage import Candidate
from registry_core.content.links import GRACE, unlink
from registry_core.content.models import Garbage
from registry_core.content.reporters import Reporter
from registry_core.content.repositories import repository_key
from registry_core.events.outbox import emit
from registry_core.machine.state import generations

BATCH: Final = 500
SPAN_S: Final = 3600
PAGE: Final = 20_000
# Longer than any transaction that creates a link: what is older than that is committed.
MARGIN: Final = "10 minutes"

UNUSED: Final = """
    NOT EXISTS (SELECT FROM content_artifactblob AS used
                WHERE used.repository_id = link.repository_id AND used.blob_id = link.blob_id AND NOT used.is_trashed)
"""
"""The condition of a `link` that no living artifact uses."""
_QUEUE: Final = f"""
    INSERT INTO content_garbage (kind, repository_id, target_id, due_at)
    SELECT {Garbage.Kind.LINK:d}, link.repository_id, link.blob_id, link.grace_until
    FROM {{links}} AS link WHERE {UNUSED} ON CONFLICT (kind, repository_id, target_id) DO NOTHING
"""  # noqa: S608 constants
_QUEUE_SINCE: Final = _QUEUE.format(
    links="""(
        SELECT repository_id, blob_id, grace_until FROM content_repositoryblob
        WHERE created_at > to_timestamp(%(since)s) AND created_at <= to_timestamp(%(until)s)
    )"""
)
_PAGE: Final = """
    SELECT repository_id, blob_id FROM content_repositoryblob WHERE (repository_id, blob_id) > (%s, %s)
    ORDER BY repository_id, blob_id OFFSET %s LIMIT 1
"""
_QUEUE_PAGE: Final = _QUEUE.format(
    links=f"""(
        SELECT repository_id, blob_id, grace_until FROM content_repositoryblob
        WHERE (repository_id, blob_id) > (%s, %s) AND created_at <= now() - interval '{GRACE}'
        ORDER BY repository_id, blob_id LIMIT {PAGE}
    )"""  # noqa: S608 constants
)


def settled_until_s() -> int:
    """Up to which time (seconds since the epoch) every link was created, committed, and its first grace period is
    over."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT extract(epoch FROM now() - interval '{GRACE}' - interval '{MARGIN}')::bigint"  # noqa: S608
        )
        return int(cursor.fetchone()[0])


def queue_since(since_s: int, until_s: int, reporter: Reporter) -> None:
    """Queue the unused ones of the links that were created in this time (seconds since the epoch)."""
    for start in range(since_s, until_s, SPAN_S):
        reporter.check()
        with reporter.fenced(), connection.cursor() as cursor:
            cursor.execute(_QUEUE_SINCE, {"since": start, "until": min(start + SPAN_S, until_s)})


def queue_all(reporter: Reporter) -> None:
    """Queue all unused links whose first grace period is over."""
    place: tuple[int, int] | None = (0, 0)
    while place is not None:
        reporter.check()
        with reporter.fenced(), connection.cursor() as cursor:
            cursor.execute(_QUEUE_PAGE, place)
            cursor.execute(_PAGE, [*place, PAGE - 1])
            place = cursor.fetchone()


def remove_unused(reporter: Reporter, cause: Cause) -> int:
    """Remove the queued links that nothing uses and whose grace period is over; returns their number."""
    removed = 0
    for batch in garbage.due(Garbage.Kind.LINK, limit=BATCH):
        for repository_id, candidates in _by_repository(batch):
            reporter.check()
            with generations().changing([repository_key(repository_id)]), reporter.fenced():
                removed += _remove(repository_id, candidates, cause)
    return removed


def _by_repository(batch: list[Candidate]) -> Iterator[tuple[int, list[Candidate]]]:
    found: dict[int, list[Candidate]] = defaultdict(list)
    for candidate in batch:
        found[candidate.repository_id].append(candidate)
    yield from found.items()


def _remove(repository_id: int, candidates: list[Candidate], cause: Cause) -> int:
    """Decide about candidates of one repository. What a push has locked is being used: it stays in the queue."""
    project_id = _project_of(repository_id)
    existing, locked = _lock(repository_id, [each.target_id for each in candidates])
    expired, waiting = _expired(repository_id, locked)
    if expired and project_id is not None:
        unlink(repository_id=repository_id, project_id=project_id, blob_ids=expired, manifest_ids=[], reason="gc")
        emit(
            LinksExpired(blobs=len(expired)),
            cause=cause,
            project_id=project_id,
            repository_id=repository_id,
            changed=[repository_key(repository_id)],
        )
    undecided = waiting | (existing - locked)
    garbage.settle([each for each in candidates if each.target_id not in undecided])
    return len(expired)


def _project_of(repository_id: int) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT project_id FROM content_repository WHERE id = %s", [repository_id])
        row = cursor.fetchone()
    return None if row is None else row[0]


def _lock(repository_id: int, blob_ids: list[int]) -> tuple[set[int], set[int]]:
    """The links that exist, and those of them that nobody else has locked, which are locked now."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT blob_id FROM content_repositoryblob WHERE repository_id = %s AND blob_id = ANY(%s)
            ORDER BY blob_id FOR UPDATE SKIP LOCKED
            """,
            [repository_id, blob_ids],
        )
        locked = {row[0] for row in cursor.fetchall()}
        cursor.execute(
            "SELECT blob_id FROM content_repositoryblob WHERE repository_id = %s AND blob_id = ANY(%s)",
            [repository_id, blob_ids],
        )
        return {row[0] for row in cursor.fetchall()}, locked


def _expired(repository_id: int, locked: set[int]) -> tuple[list[int], set[int]]:
    """Of locked links that no manifest uses, those whose grace period is over, and the others."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT blob_id, grace_until <= clock_timestamp() FROM content_repositoryblob AS link
            WHERE repository_id = %s AND blob_id = ANY(%s) AND {UNUSED} ORDER BY blob_id
            """,  # noqa: S608 a constant
            [repository_id, list(locked)],
        )
        unused = cursor.fetchall()
    return [blob_id for blob_id, is_over in unused if is_over], {blob_id for blob_id, is_over in unused if not is_over}
