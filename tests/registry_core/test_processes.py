"""What processes of an installation know of each other by heartbeats: who lives, and with which keys and blobs."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from registry_core.machine.processes import spawn
from tests.conftest import ServerFactory
from tests.support.people import admin
from tests.support.registry import push_blob, sign_in
from tests.support.server import PORTOLAN, Server
from tests.support.waiting import wait_until

WITHIN_S = 90.0


@pytest.fixture
def registry(start_server: ServerFactory) -> Server:
    return start_server()


def unhealthy(server: Server) -> dict[str, str]:
    """The components that are not healthy, with what is said of them."""
    answer = httpx.get(f"{server.url}/api/v2.0/health", timeout=60)
    assert answer.status_code == 200
    parts = answer.json()["components"]
    assert (answer.json()["status"] == "healthy") == all(part["status"] == "healthy" for part in parts)
    return {part["name"]: part["error"] for part in parts if part["status"] != "healthy"}


def run(server: Server, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = server.environment | {f"PORTOLAN_{name}": value for name, value in variables.items()}
    command = [str(PORTOLAN), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WITHIN_S, check=False)


@contextlib.contextmanager
def started(server: Server, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with server.log_path.open("ab") as log:
        process = spawn([PORTOLAN, *arguments], death_signal=signal.SIGTERM, env=server.environment, log=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def change(server: Server, statement: str) -> None:
    with psycopg.connect(server.database_url, autocommit=True) as connection:
        connection.execute(statement)


def test_missing_worker_and_clock_are_noticed_until_one_is_started_and_when_it_is_gone(registry: Server) -> None:
    wait_until(lambda: set(unhealthy(registry)) == {"worker", "clock"}, what="both are missed", within_s=WITHIN_S)
    assert "portolan worker --beat" in unhealthy(registry)["clock"]
    wait_until(
        lambda: "FAILED  a clock runs" in run(registry, "check").stdout, what="serve is known", within_s=WITHIN_S
    )
    with started(registry, "worker", "--beat"):
        wait_until(lambda: not unhealthy(registry), what="it is known", within_s=WITHIN_S)
        checked = run(registry, "check")
        assert checked.returncode == 0, checked.stdout
    change(registry, "UPDATE processes_heartbeat SET seen_at = now() - interval '2 minutes' WHERE role <> 'serve'")
    wait_until(lambda: set(unhealthy(registry)) == {"worker", "clock"}, what="both are missed", within_s=WITHIN_S)


def test_clock_and_worker_may_be_processes_of_their_own(registry: Server) -> None:
    with started(registry, "beat"), started(registry, "worker"):
        wait_until(lambda: not unhealthy(registry), what="both are known", within_s=WITHIN_S)


def test_heartbeats_are_few(registry: Server) -> None:
    """Each process writes at most once in ten seconds."""
    with psycopg.connect(registry.database_url, autocommit=True) as connection:
        connection.execute("SELECT 1")
        wait_until(lambda: written(connection) > 0, what="serve is known", within_s=WITHIN_S)
        first = written(connection)
        for _ in range(20):
            httpx.get(f"{registry.url}/api/v2.0/health", timeout=60)
        assert written(connection) - first <= 4


def written(connection: psycopg.Connection[tuple[object, ...]]) -> int:
    connection.execute("SELECT pg_stat_clear_snapshot()")
    row = connection.execute(
        "SELECT n_tup_ins + n_tup_upd FROM pg_stat_user_tables WHERE relname = 'processes_heartbeat'"
    ).fetchone()
    assert row is not None
    return int(str(row[0]))


def test_machine_with_keys_of_its_own_is_refused_while_another_lives(registry: Server, tmp_path: Path) -> None:
    wait_until(lambda: "a clock runs" in run(registry, "check").stdout, what="serve is known", within_s=WITHIN_S)
    refused = run(registry, "serve", DATA=str(tmp_path / "own"), PORT="1")
    assert refused.returncode == 3, refused.stderr
    refused = run(registry, "worker", DATA=str(tmp_path / "own"))
    assert refused.returncode == 3, refused.stderr
    assert "django.key" in refused.stderr.splitlines()[-1]
    assert "copy DATA/secrets" in refused.stderr
    checked = run(registry, "check", DATA=str(tmp_path / "own"))
    assert "FAILED  keys and folders" in checked.stdout


def test_machine_with_other_keys_that_lives_is_told_by_health_and_check(registry: Server) -> None:
    """As after two machines were started for the first time at the same moment."""
    change(
        registry,
        "INSERT INTO processes_heartbeat (machine, role, host, version, facts)"
        """ VALUES ('m2', 'serve', 'node-2', '1', '{"django.key": "another", "token-keys": ["x"]}')""",
    )
    wait_until(lambda: "keys" in unhealthy(registry), what="it is noticed", within_s=WITHIN_S)
    assert "portolan check" in unhealthy(registry)["keys"]
    checked = run(registry, "check").stdout
    assert "django.key" in checked
    assert "node-2" in checked


def test_machine_without_the_blobs_is_refused_while_another_lives(registry: Server, tmp_path: Path) -> None:
    headers = sign_in(registry, admin(registry), "repository:library/app:pull,push")
    with httpx.Client(base_url=registry.url, headers=headers, timeout=60) as client:
        for _ in range(3):
            push_blob(client, "library/app", secrets.token_bytes(100))
    wait_until(lambda: "a clock runs" in run(registry, "check").stdout, what="serve is known", within_s=WITHIN_S)
    shutil.copytree(registry.data / "secrets", tmp_path / "own" / "secrets")
    refused = run(registry, "worker", DATA=str(tmp_path / "own"))
    assert refused.returncode == 3
    assert "none of the last 20 blobs" in refused.stderr
    registry.stop()
    change(registry, "UPDATE processes_heartbeat SET seen_at = now() - interval '2 minutes'")
    checked = run(registry, "check", DATA=str(tmp_path / "own"))
    assert "none of the last 20 blobs" in checked.stdout


def test_blobs_in_a_store_without_settings_are_told_by_check(registry: Server) -> None:
    change(
        registry,
        "INSERT INTO content_blob (digest, size_bytes, store, storage_key, state) VALUES ('x', 1, 's3', 'k', 1)",
    )
    checked = run(registry, "check")
    assert checked.returncode == 1
    assert "FAILED  every store that holds blobs is configured: blobs are in s3" in checked.stdout


def test_nearly_full_disk_is_told(registry: Server) -> None:
    disk = os.statvfs(registry.data)
    free_percent = 100 * disk.f_bavail // disk.f_blocks
    if free_percent >= 88:
        pytest.skip("this disk is nearly empty")
    checked = run(registry, "check", DISK_FREE_MIN_PERCENT=str(free_percent + 2))
    assert "FAILED  the disk has room" in checked.stdout
    assert "ok      the disk has room" in run(registry, "check", DISK_FREE_MIN_PERCENT="0").stdout


def test_check_in_a_folder_without_data_makes_nothing(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PORTOLAN_")}
    done = subprocess.run(
        [str(PORTOLAN), "check"], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "set PORTOLAN_DATA" in done.stdout
    assert list(tmp_path.iterdir()) == []
