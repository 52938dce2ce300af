"""The clock of `portolan worker --beat`: it runs the periodic jobs itself, in threads, without the broker.

So they continue while the broker is unreachable. Celery's worker runs all other jobs, and is started when the first of
those arrives: it takes as much memory as everything else in this process.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import redis
from celery.beat import Service
from django.db import connection
from kombu.transport.redis import PRIORITY_STEPS, Channel

from registry_core import logs
from registry_core.config import get_config
from registry_core.wiring.celery import PunctualScheduler, app, import_worker
from registry_core.wiring.supervisor.stopping import StopSignal

LOOK_S: Final = 1.0
THREADS: Final = 3  # two long jobs leave one thread for those that run every second
_UNACKED: Final = "unacked"  # where kombu's transport keeps what a worker took and has not completed
_logger = logs.get_logger("portolan.clock")


class LocalScheduler(PunctualScheduler):
    """Runs due jobs. A job that is still running when it is due again is skipped that time."""

    producer: Any = None  # Celery's own connects to the broker

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="periodic")
        self._runs: dict[str, Future[None]] = {}
        super().__init__(*arguments, **options)

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        last = self._runs.get(entry.name)
        if last is None or last.done():
            self._runs[entry.name] = self._threads.submit(_run, self.app.tasks[entry.task])

    def close(self) -> None:
        """Jobs in progress are completed first."""
        self._threads.shutdown(cancel_futures=True)
        super().close()


class _Service(Service):
    """Celery's clock with our scheduler, without the search for others in all installed packages."""

    def __init__(self, schedule: Path) -> None:
        # Between jobs it sleeps and cannot be woken to end, so for no longer than this.
        super().__init__(app, max_interval=int(LOOK_S), schedule_filename=str(schedule))
        self._schedule = schedule

    def get_scheduler(self, *_: Any, **__: Any) -> LocalScheduler:
        return LocalScheduler(app, schedule_filename=str(self._schedule), max_interval=self.max_interval)


def _run(job: Any) -> None:
    try:
        job.run()
    except Exception:  # whatever it is, it is tried again when it is due again
        _logger.exception("periodic job failed", job=job.name)
    finally:
        connection.close()  # return it to the pool


@contextlib.contextmanager
def ticking(*, schedule: Path) -> Iterator[Callable[[], bool]]:
    """Run periodic jobs while the block runs. Yields a function that returns whether they are running. `schedule`: the
    file of last runs."""
    import_worker()
    service = _Service(schedule)
    clock = threading.Thread(target=service.start, name="clock", daemon=True)
    clock.start()
    try:
        yield clock.is_alive
    finally:
        service.stop()
        clock.join(get_config().shutdown_grace_s)


def await_job(*, begin: Callable[[], object]) -> bool:
    """Wait until there is a job for Celery's worker; False if a signal to stop comes first.

    `begin` is called once a stop can be noticed, so that what it starts is ended properly.
    """
    with StopSignal() as stop, _broker() as broker:
        begin()
        while not stop.wait(LOOK_S):
            with contextlib.suppress(redis.RedisError):  # it is unreachable, so no job comes from there
                if broker.exists(*_queues()):
                    return True
    return False


def _broker() -> redis.Redis:
    return redis.Redis.from_url(get_config().redis_dsn or "", socket_timeout=5, socket_connect_timeout=2)


def _queues() -> list[str]:
    """The lists in which jobs can be: one per priority; the usual one has the queue's name."""
    name = app.conf.task_default_queue
    return [_UNACKED, name, *(f"{name}{Channel.sep}{step}" for step in PRIORITY_STEPS if step)]
