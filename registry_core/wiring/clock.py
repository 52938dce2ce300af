"""The clock: it runs the periodic work of the apps in threads of its own, without the broker.

Several clocks, on one machine or on many, may run at the same time: periodic work is safe to repeat, and each scheduled
job starts once.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from django.db import connection

from registry_core import logs
from registry_core.config import get_config
from registry_core.jobs.dispatching import dispatch
from registry_core.jobs.periodic import Periodic, declared
from registry_core.wiring.celery import wake
from registry_core.wiring.supervisor.stopping import StopSignal

THREADS: Final = 3  # two long runs leave one thread for those of every second
DISPATCH_S: Final = 2.0
WAIT_S: Final = 60.0
_logger = logs.get_logger("portolan.clock")


class Clock:
    """Runs each piece of periodic work when it is due. One that is still running when it is due again is skipped."""

    def __init__(self, work: Sequence[Periodic], *, now: Callable[[], float] = time.monotonic) -> None:
        self._work = work
        self._now = now
        self._due_s = {each.name: now() for each in work}
        self._runs: dict[str, Future[None]] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="periodic")
        self._is_over = threading.Event()

    def run(self) -> None:
        """Run until `stop`."""
        while not self._is_over.wait(self.tick()):
            pass

    def tick(self) -> float:
        """Start what is due; returns the seconds until something is due again."""
        now_s = self._now()
        for each in self._work:
            if self._due_s[each.name] <= now_s:
                self._due_s[each.name] = now_s + each.every_s
                last = self._runs.get(each.name)
                if last is None or last.done():
                    self._runs[each.name] = self._threads.submit(_run, each)
        return max(0.0, min(self._due_s.values()) - self._now()) if self._due_s else DISPATCH_S

    def stop(self) -> None:
        """Start nothing more; runs in progress are completed."""
        self._is_over.set()
        self._threads.shutdown(cancel_futures=True)


def _run(work: Periodic) -> None:
    try:
        work.function()
    except Exception:  # whatever it is, it is tried again when it is due again
        _logger.exception("periodic work failed", work=work.name)
    finally:
        connection.close()  # return it to the pool


@contextlib.contextmanager
def ticking() -> Iterator[Callable[[], bool]]:
    """Run periodic work and start jobs while the block runs. Yields a function that returns whether it does."""
    jobs = Periodic("start jobs", lambda: dispatch(wake), DISPATCH_S)
    clock = Clock([*declared(), jobs])
    thread = threading.Thread(target=clock.run, name="clock", daemon=True)
    thread.start()
    try:
        yield thread.is_alive
    finally:
        clock.stop()
        thread.join(get_config().shutdown_grace_s)


def run_clock() -> None:
    """Run the clock alone until a signal."""
    with StopSignal() as stop, ticking():
        while not stop.wait(WAIT_S):
            pass
