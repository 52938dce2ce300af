"""The Celery application: how jobs reach their workers. What a job does is in the `tasks.py` of each app.

The broker may lose everything; all necessary work is found again in Postgres by periodic tasks.
"""

import contextlib
import functools
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from celery import Celery
from celery.beat import PersistentScheduler
from celery.signals import setup_logging, task_postrun
from django.db import DatabaseError

from registry_core import logs
from registry_core.config import get_config
from registry_core.events import repeated
from registry_core.jobs import periodic
from registry_core.machine.durable import FULL
from registry_core.machine.imports import without

_logger = logs.get_logger("portolan.clock")

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry_core.wiring.settings")
# `portolan check` runs those. Celery would run them at each start, which visits every model and every URL.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")


@setup_logging.connect
def _use_our_logging(**_: Any) -> None:
    logs.configure()


@task_postrun.connect
def _tell_repeated_events(**_: Any) -> None:
    if repeated.is_due():
        with contextlib.suppress(DatabaseError):  # they stay counted, and are written with the next
            repeated.flush_due()


# Modules that Celery imports by name when a worker starts.
_WORKER = (
    "billiard.pool", "celery.concurrency.thread", "celery.events", "celery.events.receiver", "celery.worker.strategy",
    "dbm.dumb", "encodings.latin_1", "kombu.transport.redis",
)  # fmt: skip

app = Celery("portolan")
app.conf.update(
    broker_url=get_config().redis_dsn or "redis://127.0.0.1:6379/0",
    broker_connection_retry_on_startup=True,
    broker_transport_options={"socket_timeout": 5, "socket_connect_timeout": 2, "visibility_timeout": 3600},
    task_publish_retry=False,  # a request never waits for the broker: a periodic task re-sends
    task_ignore_result=True,
    result_expires=None,  # otherwise the clock would search all installed packages for a result store
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    task_serializer="json",
    accept_content=["json"],
    timezone="UTC",
    enable_utc=True,
)
app.autodiscover_tasks()


@functools.cache
def import_worker() -> None:
    """Import everything that a worker uses, and all tasks: memory of imports before the fork is shared.

    A worker that finds this done does not repeat Django's setup and its logging configuration.
    """
    app.loader.init_worker()
    app.finalize()
    with without("psutil"):  # used only to report the memory of a process on request
        for module in _WORKER:
            import_module(module)
        from celery.worker.consumer import Consumer

        for step in (*app.Worker.Blueprint.default_steps, *Consumer.Blueprint.default_steps):
            import_module(step.partition(":")[0])
    _ = app.control, app.events, app.amqp, app.backend, app.log  # created on first access


class PunctualScheduler(PersistentScheduler):
    """Celery's clock, without its habit of waking 10 ms before a job is due and polling without a pause until it is.

    Its file of last runs helps after a restart; a disk that refuses writes does not stop it.
    """

    def setup_schedule(self) -> None:
        """Use the jobs that the apps declared; their tasks have been imported by now."""
        self.app.conf.beat_schedule = periodic.schedule()
        super().setup_schedule()

    def adjust(self, n: float, drift: float = 0.0) -> float:
        return n + drift

    def _open_schedule(self) -> Any:
        try:
            return super()._open_schedule()  # type: ignore[misc]  # the stubs leave it out
        except OSError as error:
            _logger.warning("the times of the last jobs cannot be stored, only kept in memory", reason=str(error))
            return _Unwritten()

    def sync(self) -> None:
        with self._excusing_a_full_disk():
            super().sync()

    def close(self) -> None:
        with self._excusing_a_full_disk():
            super().close()

    @contextlib.contextmanager
    def _excusing_a_full_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            _logger.warning("the times of the last periodic jobs cannot be stored", reason=str(error))


class _Unwritten(dict[str, Any]):
    """In place of the file, if it cannot be written."""

    def sync(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def run_worker(*, concurrency: int) -> NoReturn:
    """Run jobs, each in a thread, until a signal; jobs in progress are completed. Raises SystemExit with the
    outcome."""
    # Not by Celery's own command, which imports a shell and takes ten MiB more.
    worker = app.Worker(
        pool="threads", concurrency=concurrency, without_gossip=True, without_mingle=True, quiet=True,
        loglevel=get_config().log_level.upper(),
    )  # fmt: skip
    from registry_core.content.policies import load_plugins  # which needs Django to be set up

    load_plugins()
    worker.start()
    raise SystemExit(worker.exitcode)


def run_beat(*, schedule: Path) -> None:
    """Send periodic jobs to the workers when they are due, until a signal. `schedule`: the file of last runs."""
    app.Beat(
        schedule=str(schedule),
        scheduler=f"{__name__}:{PunctualScheduler.__name__}",
        quiet=True,
        loglevel=get_config().log_level.upper(),
    ).run()
