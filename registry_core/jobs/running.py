"""Running one task: what its function is given, and how each way of ending is recorded."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final, Generic

import structlog
from django.db import OperationalError, transaction

from registry_core.access import Cause, stored_subject
from registry_core.jobs import executions, task_logs
from registry_core.jobs.claims import Claim, LeaseLost, end, give_back, renew, retry_delay_s
from registry_core.jobs.kinds import JobKind, P, kind_named
from registry_core.jobs.models import Execution, Status

BUFFER_MAX: Final = 64 << 10
"""Bytes of log that wait in memory for the next flush; beyond that, the task flushes them itself."""
_log = structlog.get_logger(__name__)


class Stopped(Exception):
    """The task is to end: it was stopped, or lost its lease."""


class Interrupted(Exception):
    """The process is ending: another worker goes on with the task."""


class Run(Generic[P]):
    """A task in progress, as its function sees it."""

    def __init__(self, claimed: Claim, kind: JobKind[P], parameters: P, *, ending: threading.Event) -> None:
        self.claim = claimed
        self.kind = kind
        self.parameters = parameters
        self.done = 0
        self.total = 0
        self.stopping = threading.Event()
        self._ending = ending
        self._lines: list[str] = []
        self._size = 0
        self._lock = threading.Lock()

    @cached_property
    def cause(self) -> Cause:
        """The cause for operations: the account that started the execution, because of this kind of job."""
        execution = Execution.objects.get(pk=self.claim.execution_id)
        subject = stored_subject(execution.subject_kind, execution.subject_id)
        return Cause(subject, execution.client, self.kind.name.lower(), f"job-{self.claim.execution_id}")

    def log(self, line: str) -> None:
        """Write a line to the task's log; readers see it within about a second."""
        clean = line.replace("\x00", "\\0").encode(errors="replace").decode()
        text = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {clean}\n"
        with self._lock:
            self._lines.append(text)
            self._size += len(text)
        if self._size > BUFFER_MAX:
            self.flush()

    def progress(self, done: int, total: int) -> None:
        """Say how much of the task is done, in units of its own."""
        self.done, self.total = done, total

    def check(self) -> None:
        """Go on by returning. Call it at least once a second. Raises Stopped or Interrupted, which the function lets
        through."""
        if self.stopping.is_set():
            raise Stopped
        if self._ending.is_set():
            raise Interrupted

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than until `check` would raise. Raises Stopped or Interrupted."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.stopping.wait(min(left, 0.2))
            self.check()

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """A transaction during which nobody else can get the task, so that nothing takes effect twice.

        Raises Stopped before the block if the task was lost or is to stop.
        """
        with transaction.atomic():
            self.hold()  # first: rows of tasks are locked before their execution's
            yield

    def hold(self) -> None:
        """The same for the transaction that the caller is in: until it ends, nobody else gets the task. For operations
        that have a transaction of their own. Raises Stopped."""
        try:
            is_to_stop = renew(self.claim.task_id, self.claim.token)
        except LeaseLost:
            is_to_stop = True
        if is_to_stop:
            self.stopping.set()
            raise Stopped

    def add_tasks(self, tasks: Iterable[Mapping[str, Any]]) -> None:
        """Add tasks to the same execution. Within `fenced`."""
        executions.add_tasks(self.claim.execution_id, self.kind, project_id=self.claim.project_id, tasks=tasks)

    def flush(self, *, is_waiting: bool = True) -> None:
        """Write the lines that wait in memory; not now, if the task's row is locked and `is_waiting` is not set."""
        with self._lock:
            lines, self._lines, self._size = self._lines, [], 0
        try:
            is_written = not lines or task_logs.append(self.claim.task_id, "".join(lines), is_waiting=is_waiting)
        except BaseException:
            self._put_back(lines)
            raise
        if not is_written:
            self._put_back(lines)

    def _put_back(self, lines: list[str]) -> None:
        with self._lock:
            self._lines = lines + self._lines
            self._size += sum(map(len, lines))


def begin(claimed: Claim, *, ending: threading.Event) -> Run[Any]:
    """The task of a claim, ready to run. Raises InvalidInput for parameters that this release does not understand."""
    kind = kind_named(claimed.kind)
    return Run(claimed, kind, kind.parsed(claimed.parameters), ending=ending)


def run(task: Run[Any]) -> None:
    """Run the task and record how it ended; never raises but for a database that is away, and then its lease ends and
    another worker takes it."""
    log = _log.bind(job=task.kind.name, execution=task.claim.execution_id, task=task.claim.task_id)
    try:
        result = task.kind.run(task) or {}
    except Interrupted:
        task.flush()
        give_back(task.claim, message="the worker ended", delay_s=0.0, is_free=True)
    except Stopped:
        _end(task, Status.STOPPED, message="stopped")
    except OperationalError as error:
        log.warning("the database broke off a job, which is tried again", reason=str(error))
        _fail(task, "the database was away", error)
    except Exception as error:
        log.exception("a job failed", attempt=task.claim.attempt)
        _fail(task, str(error) or type(error).__name__, error)
    else:
        _end(task, Status.SUCCESS, result=result)


def _fail(task: Run[Any], message: str, error: Exception) -> None:
    task.log(f"attempt {task.claim.attempt} of {task.kind.attempts} failed: {type(error).__name__}: {error}")
    if task.claim.attempt >= task.kind.attempts:
        _end(task, Status.ERROR, message=message)
        return
    delay_s = retry_delay_s(task.claim.attempt)
    task.log(f"the next attempt is in {delay_s:.0f} seconds")
    task.flush()
    if not give_back(task.claim, message=message, delay_s=delay_s, is_free=False):
        _end(task, Status.STOPPED, message="stopped")


def _end(task: Run[Any], status: Status, *, result: Mapping[str, Any] | None = None, message: str = "") -> None:
    task.flush()
    try:
        end(task.claim, status=status, result=result or {}, message=message, done=task.done, total=task.total)
    except LeaseLost:
        _log.info("a job was taken over or stopped before it ended here", task=task.claim.task_id)
