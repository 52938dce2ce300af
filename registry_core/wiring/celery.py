"""The Celery application: it wakes the threads that run jobs, and nothing else.

A message says only that there is work; which task a thread runs is decided in Postgres (`registry_core.jobs.claims`).
So the broker may lose everything: the clock sends another message within two seconds.
"""

import contextlib
import functools
import os
from importlib import import_module
from typing import Any, Final, NoReturn

import redis
from celery import Celery
from celery.signals import setup_logging, task_postrun, worker_shutting_down
from django.db import DatabaseError, connection
from kombu.exceptions import OperationalError

from registry_core import logs
from registry_core.config import get_config
from registry_core.events import repeated
from registry_core.machine.imports import without

_logger = logs.get_logger("portolan.worker")
WORK: Final = "portolan.jobs.work"
MESSAGE_S: Final = 10.0
"""A message that no worker has taken by then is dropped: the clock sends others."""

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
    broker_transport_options={"socket_timeout": 5, "socket_connect_timeout": 2},
    task_publish_retry=False,  # the clock sends another message in two seconds
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    task_serializer="json",
    accept_content=["json"],
    timezone="UTC",
    enable_utc=True,
)


@app.task(name=WORK)
def work() -> None:
    """Run jobs in this thread as long as any is ready."""
    from registry_core.jobs import worker  # which needs Django to be set up

    try:
        worker.work()
    except DatabaseError as error:  # the clock wakes us again
        _logger.warning("jobs wait for the database", reason=str(error))
    finally:
        connection.close()  # return it to the pool


def wake(threads: int) -> None:
    """Send as many messages as are needed for so many threads to look for jobs. A broker that is away is skipped."""
    try:
        with redis.Redis.from_url(get_config().redis_dsn or "", socket_timeout=5, socket_connect_timeout=2) as broker:
            waiting = broker.llen(app.conf.task_default_queue)
        for _ in range(threads - int(waiting)):
            app.send_task(WORK, expires=MESSAGE_S)
    except (redis.RedisError, OperationalError) as error:
        _logger.warning("jobs wait for the broker", reason=str(error))


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


def run_worker(*, concurrency: int) -> NoReturn:
    """Run jobs, each in a thread, until a signal; those in progress go back and are run by another worker, or by the
    next. Raises SystemExit with the outcome."""
    # Not by Celery's own command, which imports a shell and takes ten MiB more.
    worker = app.Worker(
        pool="threads", concurrency=concurrency, without_gossip=True, without_mingle=True, quiet=True,
        loglevel=get_config().log_level.upper(),
    )  # fmt: skip
    from registry_core.content.policies import load_plugins  # which needs Django to be set up
    from registry_core.jobs.worker import working

    load_plugins()
    with working(concurrency=concurrency) as jobs:

        def end(**_: Any) -> None:
            jobs.ending.set()

        worker_shutting_down.connect(end)
        worker.start()
    raise SystemExit(worker.exitcode)
