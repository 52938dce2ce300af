"""Workers and clocks as processes: they share the work, and lose and repeat nothing when they or the broker die."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis

from registry_core.machine.processes import spawn
from tests.support.counting_worker import TABLE
from tests.support.server import Server
from tests.support.waiting import wait_until

IS_FULL = bool(os.environ.get("PORTOLAN_TEST_FULL"))
KILLS = 200 if IS_FULL else 12
TASKS = 4 * KILLS
StartWorker = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def database(server: Server) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection to the server's database, with the table in which tasks count."""
    with psycopg.connect(server.database_url, autocommit=True) as connection:
        connection.execute(f"DROP TABLE IF EXISTS {TABLE}")
        connection.execute(f"CREATE TABLE {TABLE} (number bigint)")
        connection.execute("TRUNCATE jobs_execution, jobs_task, jobs_tasklog")
        yield connection


@pytest.fixture
def broker_url() -> str:
    """The test run's broker. Messages say nothing about tasks, so that others may have theirs in it."""
    return urlunsplit(urlsplit(os.environ["PORTOLAN_REDIS_URL"]))


@pytest.fixture
def start_worker(server: Server, broker_url: str, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts workers, each on a machine of its own; they are killed in the end."""
    with ExitStack() as ends:

        def start(*options: str) -> subprocess.Popen[bytes]:
            machine = tmp_path / secrets.token_hex(4)
            machine.mkdir()
            log = ends.enter_context((tmp_path / f"{machine.name}.log").open("wb"))
            process = spawn(
                [sys.executable, "-m", "tests.support.counting_worker", *options],
                death_signal=signal.SIGKILL,
                env=server.environment | {"PORTOLAN_MACHINE": str(machine), "PORTOLAN_REDIS_URL": broker_url},
                log=log,
            )
            ends.callback(process.wait)
            ends.callback(process.kill)
            return process

        yield start


def start_execution(server: Server, tasks: list[dict[str, float]], *, project_id: int = 0) -> int:
    """Start an execution of the counting kind, as a request does; returns its id."""
    printed = server.manage(
        "import json; from tests.support.counting_worker import declare; from registry_core.jobs import executions;"
        "from registry_core.access import of_system;"
        f"print(executions.start(declare(), cause=of_system('test'), project_id={project_id},"
        f"tasks=json.loads({json.dumps(tasks)!r})))"
    )
    return int(printed.split()[-1])


def state(database: psycopg.Connection[tuple[object, ...]], execution: int) -> tuple[object, ...] | None:
    return database.execute(
        "SELECT status, tasks_total, tasks_succeeded FROM jobs_execution WHERE id = %s", [execution]
    ).fetchone()


def counted(database: psycopg.Connection[tuple[object, ...]]) -> list[object]:
    return [row[0] for row in database.execute(f"SELECT number FROM {TABLE} ORDER BY number")]


def test_nothing_is_lost_and_nothing_counts_twice_while_workers_and_clocks_are_killed(
    server: Server, database: psycopg.Connection[tuple[object, ...]], start_worker: StartWorker
) -> None:
    chance = random.Random(7)
    execution = start_execution(server, [{"number": number, "takes_s": 0.1} for number in range(TASKS)])
    workers = [start_worker("--beat"), start_worker("--beat")]
    # a lost worker's tasks come back when their lease is over, with a pause; here at once
    hurry = "UPDATE jobs_task SET lease_until = now() WHERE status = 1 AND lease_until < now() + interval '17 seconds'"
    for _ in range(KILLS):
        before = len(counted(database))
        wait_until(
            lambda before=before: len(counted(database)) > before or state(database, execution)[0] != 1,  # type: ignore[misc,index]
            what="tasks are run",
            within_s=60,
        )
        place = chance.randrange(len(workers))
        workers[place].kill()
        workers[place].wait()
        workers[place] = start_worker("--beat")
        database.execute(hurry)
        database.execute("UPDATE jobs_task SET run_at = now() WHERE status = 0")

    def is_over() -> bool:
        database.execute(hurry)
        database.execute("UPDATE jobs_task SET run_at = now() WHERE status = 0 AND run_at > now()")
        return state(database, execution) == (2, TASKS, TASKS)

    wait_until(is_over, what="every task has ended", within_s=60 + TASKS)
    assert counted(database) == list(range(TASKS))


def test_jobs_go_on_when_the_broker_has_lost_everything(
    server: Server, database: psycopg.Connection[tuple[object, ...]], start_worker: StartWorker, broker_url: str
) -> None:
    start_worker("--beat")
    execution = start_execution(server, [{"number": number, "takes_s": 0.05} for number in range(20)])
    with redis.Redis.from_url(broker_url) as broker:
        for _ in range(5):
            before = len(counted(database))
            wait_until(
                lambda before=before: len(counted(database)) > before or state(database, execution)[0] == 2,  # type: ignore[misc,index]
                what="tasks are run",
                within_s=60,
            )
            broker.delete("celery")
    wait_until(lambda: state(database, execution) == (2, 20, 20), what="every task has ended", within_s=60)
    assert counted(database) == list(range(20))


def test_a_worker_that_is_told_to_end_gives_its_tasks_back_and_ends_within_seconds(
    server: Server, database: psycopg.Connection[tuple[object, ...]], start_worker: StartWorker
) -> None:
    worker = start_worker("--beat")
    execution = start_execution(server, [{"number": 1, "takes_s": 60}])
    running = "SELECT count(*) FROM jobs_task WHERE status = 1 AND execution_id = %s"
    wait_until(lambda: database.execute(running, [execution]).fetchone() == (1,), what="it runs", within_s=60)
    worker.terminate()
    assert worker.wait(timeout=15) == 0
    task = database.execute("SELECT status, attempts FROM jobs_task WHERE execution_id = %s", [execution])
    assert task.fetchone() == (0, 0)


def test_a_stopped_job_ends_within_five_seconds(
    server: Server, database: psycopg.Connection[tuple[object, ...]], start_worker: StartWorker
) -> None:
    start_worker("--beat")
    execution = start_execution(server, [{"number": 1, "takes_s": 60}])
    running = "SELECT count(*) FROM jobs_task WHERE status = 1 AND execution_id = %s"
    wait_until(lambda: database.execute(running, [execution]).fetchone() == (1,), what="it runs", within_s=60)
    server.manage(f"from registry_core.jobs import executions; executions.stop({execution})")
    wait_until(lambda: state(database, execution)[0] == 4, what="it is stopped", within_s=5)  # type: ignore[index]
    assert counted(database) == []


def test_a_worker_without_a_broker_still_does_periodic_work(server: Server, tmp_path: Path) -> None:
    environment = {"PORTOLAN_MACHINE": str(tmp_path), "PORTOLAN_REDIS_URL": "redis://127.0.0.1:1/0"}
    command = [sys.executable, "-m", "registry_core.wiring.cli", "beat"]
    with (
        (tmp_path / "log").open("wb") as log,
        psycopg.connect(server.database_url, autocommit=True) as connection,
    ):
        connection.execute("DELETE FROM jobs_schedule")
        process = spawn(command, death_signal=signal.SIGTERM, env=server.environment | environment, log=log)
        try:
            wait_until(
                lambda: connection.execute("SELECT count(*) > 0 FROM jobs_schedule").fetchone() == (True,),
                what="schedules are made",
                within_s=60,
            )
        finally:
            process.kill()
            process.wait()
