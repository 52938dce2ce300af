"""The logs of tasks: written in pieces while a task runs, read as one text, and bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.db import connection, transaction

from registry_core.errors import NotFound
from registry_core.jobs.models import Task, TaskLog

LOG_BYTES_MAX: Final = 1 << 20
CUT: Final = f"the log ends here: it has more than {LOG_BYTES_MAX} bytes\n"
_SIZE: Final = "SELECT log_bytes FROM jobs_task WHERE id = %s FOR NO KEY UPDATE"
_TAKE: Final = "UPDATE jobs_task SET log_bytes = %s WHERE id = %s"


@transaction.atomic
def append(task_id: int, text: str, *, is_waiting: bool = True) -> bool:
    """Add text to the log of a task, as long as it is within the bound; where it ends is said once.

    False if somebody has locked the task's row, and `is_waiting` is not set: then nothing is written.
    """
    with connection.cursor() as cursor:
        cursor.execute(_SIZE if is_waiting else f"{_SIZE} SKIP LOCKED", [task_id])
        row = cursor.fetchone()
        if row is None:
            return is_waiting  # the task was removed with its execution
        before = int(row[0])
        size = len(text.encode())
        if before <= LOG_BYTES_MAX:
            cursor.execute(_TAKE, [before + size, task_id])
    if before <= LOG_BYTES_MAX:
        if before + size > LOG_BYTES_MAX:
            text = text.encode()[: LOG_BYTES_MAX - before].decode(errors="ignore") + "\n" + CUT
        TaskLog.objects.create(task_id=task_id, text=text)
    return True


def pieces(task_ids: list[int]) -> Iterator[str]:
    """The logs of these tasks, one after the other."""
    rows = TaskLog.objects.filter(task_id__in=task_ids).order_by("task_id", "pk")
    yield from rows.values_list("text", flat=True).iterator(chunk_size=64)


def log_of_execution(execution_id: int) -> Iterator[str]:
    """The logs of an execution's tasks, in their order."""
    rows = TaskLog.objects.filter(task__execution_id=execution_id).order_by("task_id", "pk")
    yield from rows.values_list("text", flat=True).iterator(chunk_size=64)


def log_of_task(task_id: int) -> str:
    """The log of one task. Raises NotFound."""
    if not Task.objects.filter(pk=task_id).exists():
        raise NotFound(f"there is no job {task_id}")
    return "".join(pieces([task_id]))
