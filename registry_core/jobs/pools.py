"""The processes that run tasks now, and what each of their threads does."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models.functions import Now

from registry_core.jobs.models import Pool as Pool
from registry_core.jobs.models import Status, Task
from registry_core.jobs.worker import FORGOTTEN_S


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread of a pool; `task` is None while it waits."""

    id: str
    pool_id: str
    task: Task | None


def living() -> list[Pool]:
    """The processes that were seen within the last minute, the oldest first."""
    return list(Pool.objects.filter(seen_at__gt=Now() - dt.timedelta(seconds=FORGOTTEN_S)).order_by("started_at", "pk"))


def threads(found: Sequence[Pool]) -> list[Thread]:
    """The threads of these processes."""
    running: dict[str, list[Task]] = {pool.id: [] for pool in found}
    for task in Task.objects.filter(status=Status.RUNNING).order_by("pk"):
        running.get(task.worker.partition(":")[0], []).append(task)
    return [
        Thread(tasks[place].worker if place < len(tasks) else f"{pool.id}:idle-{place}", pool.id, task)
        for pool in found
        for tasks in [running[pool.id]]
        for place, task in enumerate([*tasks, *[None] * (pool.concurrency - len(tasks))])
    ]
