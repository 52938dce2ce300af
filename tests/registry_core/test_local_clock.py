"""`portolan worker --beat`: periodic jobs without the broker, and Celery's worker when the first other job comes."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
import redis

from registry_core.machine.processes import spawn
from registry_core.wiring.celery import app
from registry_core.wiring.clock import LocalScheduler
from tests.support.brokers import own_broker
from tests.support.people import create_project
from tests.support.server import Server
from tests.support.waiting import wait_until

JOB = "registry_core.events.tasks.make_partitions"


@pytest.fixture
def broker_url() -> Iterator[str]:
    with own_broker() as url:
        yield url


@pytest.fixture
def worker(server: Server, broker_url: str, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A worker with a clock, and its log."""
    log_path = tmp_path / "log"
    with log_path.open("wb") as log:
        process = spawn(
            [sys.executable, "-m", "registry_core.wiring.cli", "worker", "--beat"],
            death_signal=signal.SIGTERM,
            env=server.environment | {"PORTOLAN_MACHINE": str(tmp_path), "PORTOLAN_REDIS_URL": broker_url},
            log=log,
        )
    yield process, log_path
    process.kill()
    process.wait()


@contextmanager
def relaying(server: Server) -> Iterator[None]:
    """The block ends when an event has got its number that was written before it."""
    name = f"relayed-{secrets.token_hex(4)}"
    with psycopg.connect(server.database_url, autocommit=True) as database:

        def is_numbered() -> bool:
            found = database.execute(
                "SELECT 1 FROM events_event WHERE payload ->> 'name' = %s AND seq IS NOT NULL", [name]
            )
            return found.fetchone() is not None

        create_project(server, name)
        yield
        wait_until(is_numbered, what="the event has its number", within_s=30)


def test_celery_s_worker_starts_with_the_first_job_and_takes_it(
    worker: tuple[subprocess.Popen[bytes], Path], server: Server, broker_url: str
) -> None:
    process, log_path = worker
    with relaying(server):
        assert process.poll() is None
    assert "ready" not in log_path.read_text()
    with redis.Redis.from_url(broker_url) as broker, app.connection_for_write(broker_url) as connection:
        app.send_task(JOB, connection=connection)
        wait_until(lambda: "ready" in log_path.read_text(), what="Celery's worker is there", within_s=30)
        wait_until(lambda: not broker.exists("celery", "unacked"), what="the job is done", within_s=30)
    process.terminate()
    assert process.wait(timeout=30) == 0


def test_a_worker_that_waits_for_a_job_ends_when_it_is_told_to(
    worker: tuple[subprocess.Popen[bytes], Path], server: Server
) -> None:
    process, _ = worker
    with relaying(server):
        assert process.poll() is None
    process.terminate()
    assert process.wait(timeout=10) == 0


def test_periodic_jobs_run_without_a_broker(server: Server, tmp_path: Path) -> None:
    environment = {"PORTOLAN_MACHINE": str(tmp_path), "PORTOLAN_REDIS_URL": "redis://127.0.0.1:1/0"}
    command = [sys.executable, "-m", "registry_core.wiring.cli", "worker", "--beat"]
    with (tmp_path / "log").open("wb") as log:
        process = spawn(command, death_signal=signal.SIGTERM, env=server.environment | environment, log=log)
    try:
        with relaying(server):
            assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_a_job_that_still_runs_is_left_out_and_those_in_progress_end_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end, runs = threading.Event(), []

    def run() -> None:
        runs.append(time.monotonic())
        may_end.wait(10)
        runs.append(time.monotonic())

    entry = SimpleNamespace(name="often", task="often")
    clock = LocalScheduler(app, schedule_filename=str(tmp_path / "schedule"))
    monkeypatch.setitem(app.tasks, "often", SimpleNamespace(name="often", run=run))
    clock.apply_entry(entry)
    clock.apply_entry(entry)
    may_end.set()
    clock.close()
    assert len(runs) == 2
