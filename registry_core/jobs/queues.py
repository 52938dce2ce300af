"""Queues as the contract has them: one for each kind of job, which can be stopped, paused and resumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.db import connection

from registry_core.errors import InvalidInput, NotFound
from registry_core.jobs import executions
from registry_core.jobs.kinds import all_kinds
from registry_core.jobs.models import PENDING, PausedQueue
from registry_core.jobs.schedules import SCHEDULER

ALL: Final = "all"
_WAITING: Final = f"""
    SELECT kind, count(*), coalesce(extract(epoch FROM clock_timestamp() - min(run_at)), 0)::bigint
    FROM jobs_task WHERE status = {PENDING} GROUP BY kind
"""  # noqa: S608 a constant


@dataclass(frozen=True, slots=True)
class Queue:
    """The pending tasks of a kind: their number, and for how many seconds the first has been ready."""

    name: str
    count: int
    latency_s: int
    is_paused: bool


def queues() -> list[Queue]:
    """All queues, by name."""
    with connection.cursor() as cursor:
        cursor.execute(_WAITING)
        waiting = {kind: (count, max(0, latency)) for kind, count, latency in cursor.fetchall()}
    paused = set(PausedQueue.objects.values_list("name", flat=True))
    return [Queue(kind.name, *waiting.get(kind.name, (0, 0)), kind.name in paused) for kind in all_kinds()]


def act(name: str, action: str) -> None:
    """Stop, pause or resume a queue, `all` of them, or (pause and resume) the `scheduler`.

    Raises NotFound for an unknown queue, or InvalidInput for another action.
    """
    names = [kind.name for kind in all_kinds()] if name == ALL else [name]
    if name not in {ALL, SCHEDULER, *(kind.name for kind in all_kinds())}:
        raise NotFound(f"there is no queue {name[:64]!r}: GET /jobservice/queues lists them")
    if action == "pause":
        PausedQueue.objects.bulk_create([PausedQueue(name=each) for each in names], ignore_conflicts=True)
    elif action == "resume":
        PausedQueue.objects.filter(name__in=names).delete()
    elif action == "stop" and name != SCHEDULER:
        for each in names:
            executions.stop_kind(each)
    else:
        raise InvalidInput(
            f"{action[:32]!r} cannot be done: use stop, pause or resume (the scheduler cannot be stopped)"
        )


def is_scheduler_paused() -> bool:
    """Whether no schedule starts anything."""
    return PausedQueue.objects.filter(name=SCHEDULER).exists()
