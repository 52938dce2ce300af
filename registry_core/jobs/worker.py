"""A process that runs tasks: its threads take them while there are any, and one more thread keeps their leases.

Celery's worker provides the threads, and a message of the broker wakes one. Which task it runs is decided in Postgres.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import structlog
from django.db import DatabaseError, connection

from registry_core.errors import InvalidInput
from registry_core.jobs.claims import LEASE_S, Claim, claim, end
from registry_core.jobs.models import RUNNING, Status
from registry_core.jobs.running import Run, begin, run

KEEP_S: Final = 1.0
SEEN_S: Final = 15.0
FORGOTTEN_S: Final = 60.0
_KEEP: Final = f"""
    UPDATE jobs_task AS task SET done = mine.done, total = mine.total, updated_at = clock_timestamp(),
        lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
    FROM unnest(%(ids)s::bigint[], %(tokens)s::bigint[], %(done)s::bigint[], %(total)s::bigint[])
        AS mine (id, token, done, total)
    WHERE task.id IN (SELECT id FROM jobs_task WHERE id = ANY(%(ids)s) AND status = {RUNNING} FOR UPDATE SKIP LOCKED)
      AND task.id = mine.id AND task.token = mine.token
"""  # noqa: S608 a constant
_STATE: Final = f"""
    SELECT mine.id FROM unnest(%(ids)s::bigint[], %(tokens)s::bigint[]) AS mine (id, token)
    LEFT JOIN jobs_task AS task ON task.id = mine.id AND task.token = mine.token AND task.status = {RUNNING}
    WHERE task.id IS NULL OR task.stop_requested_at IS NOT NULL
"""  # noqa: S608 a constant
_SEEN: Final = """
    INSERT INTO jobs_pool (id, host, pid, concurrency) VALUES (%s, %s, %s, %s)
    ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp()
"""
_FORGET: Final = "DELETE FROM jobs_pool WHERE id = %s OR seen_at < clock_timestamp() - make_interval(secs => %s)"
_log = structlog.get_logger(__name__)


class Worker:
    """The tasks that this process runs now, and how many it may run at a time.

    With two threads or more, neither the quick tasks nor the bulk tasks take the last one, so that each sort goes on
    whatever there is of the other.
    """

    def __init__(self, concurrency: int) -> None:
        self.id = secrets.token_hex(8)
        self.concurrency = concurrency
        self.ending = threading.Event()
        self._claiming = threading.Lock()
        self._lock = threading.Lock()
        self._runs: dict[int, Run[Any]] = {}
        self._classes = {False: 0, True: 0}
        self._seen_s = -math.inf

    def work(self) -> int:
        """Run tasks as long as any is ready; returns their number. Raises Django's database errors."""
        done = 0
        while not self.ending.is_set() and self._work_one():
            done += 1
        return done

    def _work_one(self) -> bool:
        with self._claiming:  # one after the other, or two threads could take the last one that the other sort needs
            classes = [is_bulk for is_bulk in (False, True) if self._classes[is_bulk] < max(1, self.concurrency - 1)]
            claimed = claim(f"{self.id}:{threading.get_ident()}", classes=classes)
            if claimed is None:
                return False
            with self._lock:
                self._classes[claimed.is_bulk] += 1
        try:
            self._run(claimed)
        finally:
            with self._lock:
                self._classes[claimed.is_bulk] -= 1
        return True

    def _run(self, claimed: Claim) -> None:
        try:
            task = begin(claimed, ending=self.ending)
        except InvalidInput as error:
            end(claimed, status=Status.ERROR, result={}, message=str(error))
            return
        with self._lock:
            self._runs[claimed.task_id] = task
        try:
            run(task)
        finally:
            with self._lock:
                del self._runs[claimed.task_id]

    def keep(self) -> None:
        """Renew the leases, write progress and logs, and tell the tasks that are to stop."""
        with self._lock:
            runs = list(self._runs.values())
        self._renew(runs)
        for task in runs:
            try:
                task.flush(is_waiting=False)
            except DatabaseError as error:
                _log.warning("the log of a job cannot be written now", task=task.claim.task_id, reason=str(error))

    def _renew(self, runs: list[Run[Any]]) -> None:
        if not runs and time.monotonic() - self._seen_s < SEEN_S:
            return
        with connection.cursor() as cursor:
            cursor.execute(_SEEN, [self.id, socket.gethostname()[:255], os.getpid(), self.concurrency])
            self._seen_s = time.monotonic()
            if not runs:
                return
            values: dict[str, Any] = {
                "ids": [task.claim.task_id for task in runs],
                "tokens": [task.claim.token for task in runs],
                "done": [task.done for task in runs],
                "total": [task.total for task in runs],
                "lease": LEASE_S,
            }
            cursor.execute(_KEEP, values)
            cursor.execute(_STATE, values)
            over = {row[0] for row in cursor.fetchall()}
        for task in runs:
            if task.claim.task_id in over:
                task.stopping.set()

    def leave(self) -> None:
        """Take this process off the list of pools."""
        with contextlib.suppress(DatabaseError), connection.cursor() as cursor:
            cursor.execute(_FORGET, [self.id, FORGOTTEN_S])


_worker: Worker | None = None


def work() -> int:
    """Run tasks in this process as long as any is ready. Raises RuntimeError outside `working`."""
    if _worker is None:
        raise RuntimeError("this process runs no jobs: start `portolan worker`")
    return _worker.work()


@contextlib.contextmanager
def working(*, concurrency: int) -> Iterator[Worker]:
    """This process is a worker while the block runs, and its leases are kept. Tasks in progress at the end go back."""
    global _worker
    _worker = worker = Worker(concurrency)
    is_over = threading.Event()
    keeper = threading.Thread(target=_keep_until, args=(is_over, worker), name="leases", daemon=True)
    keeper.start()
    try:
        yield worker
    finally:
        worker.ending.set()
        is_over.set()
        keeper.join(KEEP_S)
        worker.leave()
        _worker = None


def _keep_until(is_over: threading.Event, worker: Worker) -> None:
    has_failed = False
    while True:
        try:
            worker.keep()
            has_failed = False
        except Exception as error:  # whatever it is, it is tried again
            if not has_failed:
                _log.warning("the leases of jobs cannot be renewed", reason=str(error))
            has_failed = True
        finally:
            connection.close()  # return it to the pool
        if is_over.wait(KEEP_S):
            return
