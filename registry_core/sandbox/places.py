"""Limits how many processes read untrusted content at once: a fixed number per machine, of which each client has a fair
share.

Each place is a file lock, so the processes of a machine share them and a process that dies releases its place. Within a
process the client with the fewest jobs comes first; when all waiting places are taken, a client that has several of
them loses one.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from registry_core.access import Subject
from registry_core.config import get_config
from registry_core.http.callers import network_of
from registry_core.machine.durable import make_folder
from registry_core.sandbox.errors import SandboxBusy, SandboxUnavailable

JOBS_MAX: Final = 6  # running and waiting, per process: half of its threads remain for others
SHARE_MAX: Final = 3  # per client: a page requests several additions at once
WAIT_S: Final = 15.0
_LOOK_S: Final = 0.02


class _Job:
    """A job that waits for a place, or has one."""

    def __init__(self, share: str) -> None:
        self.share = share
        self.has_place = False
        self.is_given_up = False


class Queue:
    """The waiting jobs of this process, in a fair order."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: list[_Job] = []
        self._served: Counter[str] = Counter()  # number of jobs served, of clients that are waiting or running

    @contextmanager
    def turn(self, share: str) -> Iterator[None]:
        """Run one job of a share, once a place is free for it. Raises SandboxBusy or SandboxUnavailable."""
        job = self._join(share)
        try:
            with self._place(job):
                yield
        finally:
            with self._changed:
                self._leave(job)

    def _join(self, share: str) -> _Job:
        with self._changed:
            counts = Counter(job.share for job in self._jobs if not job.is_given_up)
            if counts[share] >= SHARE_MAX:
                raise SandboxBusy("you have too many requests to read files in progress: try again in a moment")
            if counts.total() >= JOBS_MAX:
                self._make_room(counts, counts[share])
            job = _Job(share)
            self._jobs.append(job)
            return job

    def _leave(self, job: _Job) -> None:
        self._jobs.remove(job)
        if all(other.share != job.share for other in self._jobs):
            del self._served[job.share]
        self._changed.notify_all()

    def _make_room(self, counts: Counter[str], own: int) -> None:
        """Remove the last waiting job of the client with the most. Raises SandboxBusy if no client has more than the
        new one will have."""
        waiting = [job for job in self._jobs if not job.has_place and not job.is_given_up]
        greediest = max(waiting, key=lambda job: counts[job.share], default=None)
        if greediest is None or counts[greediest.share] <= own + 1:
            raise SandboxBusy("the registry is reading as many files at once as it can: try again in a moment")
        last = [job for job in waiting if job.share == greediest.share][-1]
        last.is_given_up = True
        self._changed.notify_all()

    @contextmanager
    def _place(self, job: _Job) -> Iterator[None]:
        lock = self._wait(job)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)

    def _wait(self, job: _Job) -> int:
        """Wait for one of the machine's places; returns the locked descriptor."""
        until_s = time.monotonic() + WAIT_S
        with self._changed:
            while True:
                if job.is_given_up:
                    raise SandboxBusy("other clients take precedence over your further requests: try again in a moment")
                is_next = self._next() is job
                lock = _free_place() if is_next else None
                if lock is not None:
                    job.has_place = True
                    self._served[job.share] += 1
                    self._changed.notify_all()
                    return lock
                if time.monotonic() > until_s:
                    raise SandboxUnavailable(
                        "the registry is reading as many files at once as it can: try again in a moment"
                    )
                # Other processes release their places without notification.
                self._changed.wait(_LOOK_S if is_next else until_s - time.monotonic() + _LOOK_S)

    def _next(self) -> _Job | None:
        running = Counter(job.share for job in self._jobs if job.has_place)
        waiting = [job for job in self._jobs if not job.has_place and not job.is_given_up]
        return min(waiting, key=lambda job: (running[job.share], self._served[job.share]), default=None)


_queue = Queue()


def share_of(subject: Subject, client: str) -> str:
    """Whose share a request uses: a user's or robot's own; without authentication, that of the address."""
    return network_of(client) if subject.is_anonymous else subject.key


def place(share: str) -> AbstractContextManager[None]:
    """One of the machine's places, for a job of `share`. Raises SandboxBusy or SandboxUnavailable."""
    return _queue.turn(share)


def _free_place() -> int | None:
    """The locked descriptor of a free place; None when all are taken."""
    for number in range(get_config().sandboxes_at_once):
        descriptor = _lock(number)
        if descriptor is not None:
            return descriptor
    return None


def _lock(number: int) -> int | None:
    folder = get_config().run_dir
    make_folder(folder)
    descriptor = os.open(folder / f"sandbox-{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
