"""The queue of garbage collection: what lost its last reference, or may have.

The transaction that takes away a reference puts what was referred to into the queue, so that finding garbage costs as
much as there is garbage, however much the registry holds. Nothing is taken out of the queue when something is used
again: a push writes nothing here. Whoever takes a candidate looks at it again, under its lock.

Rows of the queue are locked after everything else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from django.db import connection

from registry_core.config import get_config
from registry_core.content.models import Garbage

Kind = Garbage.Kind

_QUEUE: Final = """
    INSERT INTO content_garbage AS known (kind, repository_id, target_id, due_at)
    SELECT %s, 0, id, clock_timestamp() + make_interval(secs => %s) FROM unnest(%s::bigint[]) AS id ORDER BY id
    ON CONFLICT (kind, repository_id, target_id) DO UPDATE
    SET due_at = {due_at}, queued_at = greatest(clock_timestamp(), known.queued_at + interval '1 microsecond')
"""
_LATER: Final = _QUEUE.format(due_at="greatest(known.due_at, excluded.due_at)")
_AT_ONCE: Final = _QUEUE.format(due_at="excluded.due_at")


class Candidate(NamedTuple):
    """A row of the queue. `seen`: which state of it was read."""

    id: int
    repository_id: int
    target_id: int
    seen: object


def queue(kind: Kind, ids: Collection[int], *, delay_s: float | None = None, is_urgent: bool = False) -> None:
    """Put candidates into the queue, to be looked at in `delay_s` seconds (None: after the grace period of the
    settings). `is_urgent`: at once, whatever was planned. Within the caller's transaction, after its other locks."""
    if not ids:
        return
    wait_s = 0.0 if is_urgent else get_config().gc_grace_s if delay_s is None else delay_s
    with connection.cursor() as cursor:
        cursor.execute(_AT_ONCE if is_urgent else _LATER, [int(kind), wait_s, sorted(set(ids))])


def due(kind: Kind, *, limit: int, targets: Collection[int] | None = None) -> Iterator[list[Candidate]]:
    """The candidates that are due, in batches; each is returned once, even if it stays in the queue. `targets`: only
    these."""
    last, only = 0, None if targets is None else sorted(targets)
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT id, repository_id, target_id, queued_at FROM content_garbage
                WHERE kind = %s AND id > %s AND due_at <= clock_timestamp()
                  AND (%s::bigint[] IS NULL OR target_id = ANY(%s))
                ORDER BY id LIMIT %s
                """,
                [int(kind), last, only, only, limit],
            )
            batch = [Candidate(*row) for row in cursor.fetchall()]
        if batch:
            yield batch
            last = batch[-1].id
        if len(batch) < limit:
            return


def settle(candidates: Collection[Candidate]) -> None:
    """Take candidates out of the queue that were decided about, unless they were queued again since they were read.
    Within the caller's transaction, after its other locks."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH decided AS (SELECT * FROM unnest(%s::bigint[], %s::timestamptz[]) AS decided (id, seen)), locked AS (
                SELECT id FROM content_garbage WHERE id IN (SELECT id FROM decided)
                ORDER BY kind, repository_id, target_id FOR UPDATE
            )
            DELETE FROM content_garbage USING decided, locked
            WHERE content_garbage.id = decided.id AND content_garbage.id = locked.id
              AND content_garbage.queued_at = decided.seen
            """,
            [[each.id for each in candidates], [each.seen for each in candidates]],
        )
