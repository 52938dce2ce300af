"""Claims: which task is next, who has it, and how it ends.

All workers of an installation take their tasks here, one after the other, so that limits hold exactly and every project
gets its turn. A claimed task has a lease, which its worker renews, and a token; the end of a task, and everything that
it changes, is tied to that token.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import OperationalError, connection, transaction
from psycopg.errors import LockNotAvailable
from psycopg.types.json import Jsonb

from registry_core.jobs.executions import NUMBERS, tally
from registry_core.jobs.kinds import all_kinds
from registry_core.jobs.models import PENDING, RUNNING

LEASE_S: Final = 20.0
STOP_WITHIN_S: Final = 3.0
"""After this time a task that was told to stop counts as stopped, even if its function has not returned."""
RETRY_S: Final = 5.0
RETRY_MAX_S: Final = 600.0
_LOCK: Final = 0x504F5254_4A4F4253  # the advisory lock of claims: any number that nobody else uses
_MESSAGE_MAX: Final = 2000

# One row for each kind and project that has pending tasks, found by skipping through the index `task_ready`; so the
# cost does not depend on how many tasks wait.
_GROUPS: Final = f"""
    WITH RECURSIVE heads AS (
        (SELECT is_bulk, kind, project_id FROM jobs_task WHERE status = {PENDING} ORDER BY 1, 2, 3 LIMIT 1)
        UNION ALL
        SELECT following.* FROM heads CROSS JOIN LATERAL (
            SELECT is_bulk, kind, project_id FROM jobs_task
            WHERE status = {PENDING} AND (is_bulk, kind, project_id) > (heads.is_bulk, heads.kind, heads.project_id)
            ORDER BY 1, 2, 3 LIMIT 1
        ) AS following
    ),
    busy AS (SELECT kind, project_id, count(*) AS tasks FROM jobs_task WHERE status = {RUNNING} GROUP BY 1, 2),
    rule AS (SELECT * FROM unnest(%(kinds)s::text[], %(most)s::int[], %(each)s::int[]) AS rule (kind, most, each))
    SELECT heads.is_bulk, heads.kind, heads.project_id
    FROM heads JOIN rule USING (kind)
    LEFT JOIN busy USING (kind, project_id)
    LEFT JOIN jobs_turn AS turn USING (project_id)
    WHERE NOT EXISTS (SELECT 1 FROM jobs_pausedqueue WHERE name = heads.kind)
      AND (rule.each = 0 OR coalesce(busy.tasks, 0) < rule.each)
      AND (rule.most = 0 OR (SELECT coalesce(sum(tasks), 0) FROM busy WHERE busy.kind = heads.kind) < rule.most)
      AND heads.is_bulk = ANY(%(classes)s)
      AND EXISTS (
          SELECT 1 FROM jobs_task AS task WHERE task.status = {PENDING} AND task.is_bulk = heads.is_bulk
            AND task.kind = heads.kind AND task.project_id = heads.project_id AND task.run_at <= clock_timestamp())
    ORDER BY heads.is_bulk,
        (SELECT coalesce(sum(tasks), 0) FROM busy WHERE busy.project_id = heads.project_id),
        turn.served_at NULLS FIRST
    LIMIT 8
"""  # noqa: S608 a constant
_BOUNDED: Final = """
    SELECT set_config('lock_timeout', '2s', true), set_config('idle_in_transaction_session_timeout', '5s', true)
"""
_CLAIM: Final = f"""
    UPDATE jobs_task SET status = {RUNNING}, worker = %(worker)s, token = token + 1, attempts = attempts + 1, done = 0,
        total = 0, lease_until = clock_timestamp() + make_interval(secs => %(lease)s), started_at = clock_timestamp(),
        updated_at = clock_timestamp(), message = ''
    WHERE id = (
        SELECT id FROM jobs_task WHERE status = {PENDING} AND is_bulk = %(is_bulk)s AND kind = %(kind)s
          AND project_id = %(project)s AND run_at <= clock_timestamp()
        ORDER BY run_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id, token, execution_id, kind, project_id, is_bulk, attempts, parameters
"""  # noqa: S608 a constant
_TURN: Final = """
    INSERT INTO jobs_turn (project_id, served_at) VALUES (%s, clock_timestamp())
    ON CONFLICT (project_id) DO UPDATE SET served_at = excluded.served_at
"""
_BEGIN: Final = f"""
    UPDATE jobs_execution SET status = {RUNNING}, started_at = coalesce(started_at, clock_timestamp())
    WHERE id = %s AND status = {PENDING}
"""  # noqa: S608 a constant
_RENEW: Final = f"""
    UPDATE jobs_task SET lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
    WHERE id = %(id)s AND token = %(token)s AND status = {RUNNING} RETURNING stop_requested_at IS NOT NULL
"""  # noqa: S608 a constant
_END: Final = f"""
    UPDATE jobs_task SET status = %(status)s, result = %(result)s, message = %(message)s, done = %(done)s,
        total = %(total)s, ended_at = clock_timestamp(), updated_at = clock_timestamp(), lease_until = NULL,
        worker = '', token = token + 1
    WHERE id = %(id)s AND token = %(token)s AND status = {RUNNING}
"""  # noqa: S608 a constant
_GIVE_BACK: Final = f"""
    UPDATE jobs_task SET status = {PENDING}, worker = '', token = token + 1, lease_until = NULL, message = %(message)s,
        attempts = attempts - %(refund)s, run_at = clock_timestamp() + make_interval(secs => %(delay)s)
    WHERE id = %(id)s AND token = %(token)s AND status = {RUNNING} AND stop_requested_at IS NULL
"""  # noqa: S608 a constant
_LOST: Final = f"""
    SELECT id, token, attempts, kind, execution_id, stop_requested_at IS NOT NULL FROM jobs_task
    WHERE status = {RUNNING} AND id > %(after)s AND (lease_until < clock_timestamp()
        OR stop_requested_at < clock_timestamp() - make_interval(secs => %(patience)s))
    ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
"""  # noqa: S608 a constant


@dataclass(frozen=True, slots=True)
class Claim:
    """A task that a worker has. `attempt` counts from 1."""

    task_id: int
    token: int
    execution_id: int
    kind: str
    project_id: int
    is_bulk: bool
    attempt: int
    parameters: dict[str, Any]


class LeaseLost(Exception):
    """The task belongs to another worker by now, or was stopped: nothing that it does counts any longer."""


def claim(worker: str, *, classes: list[bool]) -> Claim | None:
    """Take the task whose turn it is; None if none is ready. `classes`: whether quick tasks (False), bulk tasks (True)
    or both may be taken."""
    kinds = all_kinds()
    values: dict[str, Any] = {
        "kinds": [kind.name for kind in kinds],
        "most": [kind.max_running for kind in kinds],
        "each": [kind.max_per_project for kind in kinds],
        "classes": classes,
    }
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_BOUNDED)
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            cursor.execute(_GROUPS, values)
            claimed = _claim_first(cursor, cursor.fetchall(), worker)
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):  # another process is stuck; Postgres ends its transaction
            return None
        raise
    if claimed is not None:
        with connection.cursor() as cursor:
            cursor.execute(_BEGIN, [claimed.execution_id])
    return claimed


def _claim_first(cursor: Any, groups: Sequence[Any], worker: str) -> Claim | None:
    """A task of the first group that has one: all of another may be locked by a stop."""
    for is_bulk, kind, project_id in groups:
        row = {"worker": worker, "lease": LEASE_S, "is_bulk": is_bulk, "kind": kind, "project": project_id}
        cursor.execute(_CLAIM, row)
        claimed = cursor.fetchone()
        if claimed is not None:
            cursor.execute(_TURN, [project_id])
            return _claim_of(claimed)
    return None


def renew(task_id: int, token: int) -> bool:
    """Extend the lease; returns whether the task is to stop. Raises LeaseLost."""
    with connection.cursor() as cursor:
        cursor.execute(_RENEW, {"id": task_id, "token": token, "lease": LEASE_S})
        row = cursor.fetchone()
    if row is None:
        raise LeaseLost
    return bool(row[0])


@transaction.atomic
def end(
    claimed: Claim, *, status: int, result: Mapping[str, Any], message: str = "", done: int = 0, total: int = 0
) -> None:
    """End a task for good, and with the last one its execution. Raises LeaseLost, and then nothing is changed."""
    values: dict[str, Any] = {
        "id": claimed.task_id,
        "token": claimed.token,
        "status": status,
        "result": Jsonb(dict(result)),
        "message": message[:_MESSAGE_MAX].replace("\x00", ""),
        "done": done,
        "total": total,
    }
    with connection.cursor() as cursor:
        cursor.execute(_END, values)
        if cursor.rowcount == 0:
            raise LeaseLost
    _tally_one(claimed.execution_id, status)


def give_back(claimed: Claim, *, message: str, delay_s: float, is_free: bool) -> bool:
    """Let another worker, or this one later, run the task again; False if it is to stop or is not ours any longer.
    `is_free`: this was no attempt."""
    with connection.cursor() as cursor:
        cursor.execute(
            _GIVE_BACK,
            {
                "id": claimed.task_id,
                "token": claimed.token,
                "message": message[:_MESSAGE_MAX].replace("\x00", ""),
                "delay": delay_s,
                "refund": int(is_free),
            },
        )
        return bool(cursor.rowcount)


def retry_delay_s(attempt: int) -> float:
    """The seconds before the attempt after this one: doubled each time, with some chance, so that tasks that failed
    together do not come back together."""
    return min(RETRY_MAX_S, RETRY_S * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.5)  # noqa: S311  # not a secret


def take_from_lost() -> int:
    """End or give back the tasks of workers that no longer renew their leases, and those that were to stop and did not,
    each in a transaction of its own; returns their number."""
    taken, after = 0, 0
    while (task_id := _take_next(after)) is not None:
        taken, after = taken + 1, task_id
    return taken


@transaction.atomic
def _take_next(after: int) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute(_LOST, {"patience": STOP_WITHIN_S, "after": after})
        row = cursor.fetchone()
    if row is None:
        return None
    task_id, token, attempt, kind, execution_id, is_stopped = row
    claimed = Claim(task_id, token, execution_id, kind, 0, False, attempt, {})
    attempts = {each.name: each.attempts for each in all_kinds()}
    if is_stopped:
        end(claimed, status=NUMBERS["stopped"], result={}, message="stopped")
    elif attempt >= attempts.get(kind, 1):
        message = f"the worker was lost in each of {attempt} attempts: see the logs of the workers"
        end(claimed, status=NUMBERS["error"], result={}, message=message)
    else:
        give_back(claimed, message="the worker was lost", delay_s=retry_delay_s(attempt), is_free=False)
    return int(task_id)


def _claim_of(row: Sequence[Any]) -> Claim:
    task_id, token, execution_id, kind, project_id, is_bulk, attempt, parameters = row
    return Claim(task_id, token, execution_id, kind, project_id, is_bulk, attempt, json.loads(parameters))


def _tally_one(execution_id: int, status: int) -> None:
    tally(
        execution_id,
        succeeded=int(status == NUMBERS["success"]),
        failed=int(status == NUMBERS["error"]),
        stopped=int(status == NUMBERS["stopped"]),
    )
