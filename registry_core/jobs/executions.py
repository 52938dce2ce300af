"""Executions: started with their tasks in one transaction, stopped, retried, and removed when they are old.

All of it is rows. The clock tells workers within two seconds that there is something to do, so nothing is lost with the
broker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from django.db import IntegrityError, connection, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from psycopg.types.json import Jsonb

from registry_core.access import Cause
from registry_core.errors import AlreadyExists, InvalidInput, NotFound
from registry_core.jobs.kinds import JobKind
from registry_core.jobs.models import OPEN, PENDING, Execution, Status, Task, Trigger

KEPT_EACH: Final = 50
"""Executions of a kind, and of what it is about, that are kept however old they are."""
REMOVED_AT_ONCE: Final = 50

_INSERT_TASKS: Final = f"""
    INSERT INTO jobs_task (execution_id, kind, project_id, is_bulk, status, parameters, result, message, attempts,
                           token, worker, done, total, log_bytes)
    SELECT %s, %s, %s, %s, {PENDING}, parameters, '{{}}', '', 0, 0, '', 0, 0, 0
    FROM unnest(%s::jsonb[]) WITH ORDINALITY AS task (parameters, place) ORDER BY place
"""  # noqa: S608 a constant
_STOP_PENDING: Final = """
    UPDATE jobs_task SET status = %(stopped)s, ended_at = clock_timestamp(), token = token + 1
    WHERE status = %(pending)s AND {where}
"""
_STOP_RUNNING: Final = """
    UPDATE jobs_task SET stop_requested_at = coalesce(stop_requested_at, clock_timestamp())
    WHERE status = %(running)s AND {where}
"""
_TALLY: Final = """
    UPDATE jobs_execution SET
        tasks_total = tasks_total + %(total)s, tasks_succeeded = tasks_succeeded + %(done)s,
        tasks_failed = tasks_failed + %(wrong)s, tasks_stopped = tasks_stopped + %(ended)s,
        stop_requested = stop_requested OR %(is_stop)s,
        status = CASE
            WHEN {open} > 0 THEN status
            WHEN stop_requested OR %(is_stop)s OR tasks_stopped + %(ended)s > 0 THEN %(stopped)s
            WHEN tasks_failed + %(wrong)s > 0 THEN %(error)s
            ELSE %(success)s END,
        ended_at = CASE WHEN {open} > 0 THEN NULL ELSE coalesce(ended_at, clock_timestamp()) END
    WHERE id = %(execution)s RETURNING stop_requested
""".format(
    open="tasks_total + %(total)s - tasks_succeeded - %(done)s - tasks_failed - %(wrong)s - tasks_stopped - %(ended)s"
)
NUMBERS: Final = {status.name.lower(): int(status) for status in Status}
_OLD: Final = """
    SELECT id FROM (
        SELECT id, ended_at, row_number() OVER (PARTITION BY kind, subject_ref ORDER BY id DESC) AS place
        FROM jobs_execution WHERE ended_at IS NOT NULL
    ) AS past
    WHERE place > %s AND ended_at < now() - make_interval(days => %s) ORDER BY id LIMIT %s
"""
_LOCK_ENDED: Final = """
    SELECT id FROM jobs_execution WHERE id = ANY(%s) AND ended_at IS NOT NULL ORDER BY id FOR UPDATE SKIP LOCKED
"""
_REMOVE: Final = (
    "DELETE FROM jobs_tasklog USING jobs_task AS task WHERE task_id = task.id AND task.execution_id = ANY(%s)",
    "DELETE FROM jobs_task WHERE execution_id = ANY(%s)",
    "DELETE FROM jobs_execution WHERE id = ANY(%s)",
)


@transaction.atomic
def start(
    kind: JobKind[Any],
    *,
    cause: Cause,
    trigger: Trigger = Trigger.MANUAL,
    parameters: Mapping[str, Any] | None = None,
    tasks: Sequence[Mapping[str, Any]] | None = None,
    subject_ref: int = 0,
    project_id: int = 0,
) -> int:
    """Start an execution with a task for each of `tasks` (by default one, with the parameters); returns its id.

    It takes effect with the caller's transaction. Raises InvalidInput for wrong parameters, or AlreadyExists while an
    exclusive one of the same kind is open.
    """
    given = dict(parameters or {}) if tasks is not None else checked(kind, parameters or {})
    each = [given] if tasks is None else [checked(kind, task) for task in tasks]
    try:
        with transaction.atomic():
            execution = Execution.objects.create(
                kind=kind.name,
                subject_ref=subject_ref,
                project_id=project_id,
                trigger=trigger,
                is_exclusive=kind.is_exclusive,
                parameters=given,
                subject_kind=int(cause.subject.kind),
                subject_id=cause.subject.id,
                client=cause.client,
                request_id=cause.request_id,
            )
    except IntegrityError:
        raise AlreadyExists(f"a job {kind.name} is in progress: wait until it has ended, or stop it") from None
    add_tasks(execution.pk, kind, project_id=project_id, tasks=each)
    return int(execution.pk)


def checked(kind: JobKind[Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that the kind has, of those given; others are left out. Raises InvalidInput."""
    values: dict[str, Any] = msgspec.to_builtins(kind.parsed(parameters))
    return values


@transaction.atomic
def add_tasks(execution_id: int, kind: JobKind[Any], *, project_id: int, tasks: Iterable[Mapping[str, Any]]) -> None:
    """Add tasks to an open execution, within the caller's transaction. An execution without any task ends at once."""
    values = [Jsonb(dict(task)) for task in tasks]
    with connection.cursor() as cursor:
        cursor.execute(_INSERT_TASKS, [execution_id, kind.name, project_id, kind.is_bulk, values])
    if tally(execution_id, added=len(values)):
        tally(execution_id, stopped=_stop_pending("execution_id = %(key)s", execution_id))


def tally(
    execution_id: int, *, added: int = 0, succeeded: int = 0, failed: int = 0, stopped: int = 0, is_stop: bool = False
) -> bool:
    """Count tasks of an execution that were added or have ended, and end it with the last one. Within the transaction
    that changed the tasks, after it did: rows of tasks are locked before their execution's.

    `is_stop`: a stop is requested. Returns whether one was requested, now or before.
    """
    counts = {"total": added, "done": succeeded, "wrong": failed, "ended": stopped, "is_stop": is_stop}
    with connection.cursor() as cursor:
        cursor.execute(_TALLY, {**NUMBERS, **counts, "execution": execution_id})
        row = cursor.fetchone()
    return bool(row and row[0])


@transaction.atomic
def stop(execution_id: int) -> None:
    """Stop an execution: tasks that have not begun never do, those that run end within seconds. One that has ended is
    left alone. Raises NotFound."""
    execution = Execution.objects.filter(pk=execution_id).first()
    if execution is None:
        raise NotFound(f"there is no job {execution_id}")
    if execution.status not in OPEN:
        return
    where = "execution_id = %(key)s"
    stopped = _stop_pending(where, execution_id)
    _stop_running(where, execution_id)
    tally(execution_id, stopped=stopped, is_stop=True)
    # those that came back from a lost worker, or were added, while the others were stopped
    tally(execution_id, stopped=_stop_pending(where, execution_id))


@transaction.atomic
def stop_task(task_id: int) -> None:
    """Stop one task. Raises NotFound."""
    task = Task.objects.filter(pk=task_id).first()
    if task is None:
        raise NotFound(f"there is no job {task_id}")
    stopped = _stop_pending("id = %(key)s", task_id)
    _stop_running("id = %(key)s", task_id)
    tally(task.execution_id, stopped=stopped)


@transaction.atomic
def retry(execution_id: int) -> int:
    """Run the tasks of an ended execution again that failed or were stopped; returns their number.

    Raises NotFound, InvalidInput while it is still in progress, or AlreadyExists while another one of an exclusive kind
    is.
    """
    execution = Execution.objects.filter(pk=execution_id).first()
    if execution is None:
        raise NotFound(f"there is no job {execution_id}")
    again = Task.objects.filter(execution_id=execution_id, status__in=(Status.ERROR, Status.STOPPED))
    count = _reopen(again) if execution.status not in OPEN else 0  # rows of tasks are locked before their execution's
    ended = Execution.objects.filter(pk=execution_id).exclude(status__in=OPEN)
    reopened = {
        "status": Status.RUNNING,
        "stop_requested": False,
        "ended_at": None,
        "tasks_failed": 0,
        "tasks_stopped": 0,
    }
    try:
        with transaction.atomic():
            is_ended = ended.update(**reopened) if count else ended.exists()
    except IntegrityError:
        raise AlreadyExists(f"another job {execution.kind} is in progress: wait until it has ended") from None
    if not is_ended:
        raise InvalidInput(f"the job {execution_id} is in progress: stop it first, or wait until it has ended")
    return count


def _reopen(tasks: QuerySet[Task]) -> int:
    return int(
        tasks.update(
            status=Status.PENDING,
            attempts=0,
            token=F("token") + 1,
            message="",
            stop_requested_at=None,
            ended_at=None,
            run_at=Now(),
        )
    )


def stop_kind(name: str) -> int:
    """Stop all open executions of a kind; returns their number."""
    numbers = list(Execution.objects.filter(kind=name, status__in=OPEN).values_list("pk", flat=True))
    for number in numbers:
        stop(number)
    return len(numbers)


def open_of(kind: JobKind[Any], subject_ref: int) -> list[int]:
    """The executions about one thing that have not ended."""
    rows = Execution.objects.filter(kind=kind.name, subject_ref=subject_ref, status__in=OPEN)
    return list(rows.values_list("pk", flat=True))


def remove_old(*, days: int) -> int:
    """Remove some of the executions that ended more than `days` days ago, except the last of each kind, within the
    caller's transaction; returns their number."""
    with connection.cursor() as cursor:
        cursor.execute(_OLD, [KEPT_EACH, days, REMOVED_AT_ONCE])
        cursor.execute(_LOCK_ENDED, [[row[0] for row in cursor.fetchall()]])
        old = [row[0] for row in cursor.fetchall()]
        for statement in _REMOVE:
            cursor.execute(statement, [old])
    return len(old)


def _stop_pending(where: str, key: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_STOP_PENDING.format(where=where), {**NUMBERS, "key": key})
        return int(cursor.rowcount)


def _stop_running(where: str, key: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_STOP_RUNNING.format(where=where), {**NUMBERS, "key": key})
