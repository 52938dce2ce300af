"""What a power cut may take: nothing that was acknowledged. The order of the system calls is the proof."""

from __future__ import annotations

import re
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.conftest import ServerFactory
from tests.support.people import admin
from tests.support.registry import digest_of, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server
from tests.support.tools import tool
from tests.support.waiting import wait_until

REPOSITORY = "library/durable"
CALLS = "trace=pwrite64,fsync,fdatasync,sync_file_range,rename,renameat2,sendto,recvfrom,sendmsg,write,writev"


@pytest.fixture(scope="module")
def registry(start_server: ServerFactory) -> Server:
    return start_server(PORTOLAN_WORKERS="1")


@pytest.fixture
def client(registry: Server) -> Iterator[httpx.Client]:
    headers = sign_in(registry, admin(registry), f"repository:{REPOSITORY}:pull,push")
    with httpx.Client(base_url=registry.url, headers=headers, timeout=60) as connected:
        yield connected


@contextmanager
def recorded(registry: Server, log: Path) -> Iterator[None]:
    """Record the system calls of the server's processes."""
    pids = [argument for pid in registry.pids() for argument in ("-p", str(pid))]
    command = [str(tool("strace")), "-f", "-y", "-s", "4000", "-e", CALLS, "-o", str(log), *pids]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        for _ in registry.pids():
            assert "attached" in strace.stderr.readline()
        yield
        strace.send_signal(signal.SIGINT)


def first(lines: list[str], pattern: str, after: int = 0) -> int:
    """The number of the first line from `after` on that has the pattern."""
    expression = re.compile(pattern)
    found = [number for number, line in enumerate(lines) if number >= after and expression.search(line)]
    assert found, f"no {pattern} after line {after} of:\n" + "\n".join(lines)
    return found[0]


def last(lines: list[str], pattern: str, before: int) -> int:
    expression = re.compile(pattern)
    found = [number for number, line in enumerate(lines) if number < before and expression.search(line)]
    assert found, f"no {pattern} before line {before} of:\n" + "\n".join(lines)
    return found[-1]


def test_a_blob_is_acknowledged_after_its_bytes_its_name_and_its_row_are_durable(
    registry: Server, client: httpx.Client, tmp_path: Path
) -> None:
    push_blob(client, REPOSITORY, b"what makes the project's counter know how far it may go without asking")
    content = secrets.token_bytes(300_000)
    location = client.post(f"/v2/{REPOSITORY}/blobs/uploads/").headers["location"]
    log = tmp_path / "calls"

    with recorded(registry, log):
        assert client.put(location, params={"digest": digest_of(content)}, content=content).status_code == 201

    lines = log.read_text().splitlines()
    answered = first(lines, r"HTTP/1\.1 201")
    written = last(lines, r"pwrite64\(\d+<[^>]*/objects/", answered)
    file_synced = first(lines, r"fsync\(\d+<[^>]*/objects/[0-9a-f]{2}/[0-9a-f]{32}(?:-[0-9a-f]{8})?>", written)
    folder_synced = first(lines, r"fsync\(\d+<[^>]*/objects/[0-9a-f]{2}>", file_synced)
    row_sent = first(lines, r"sendto.*INSERT INTO content_blob", folder_synced)  # a transaction of its own
    committed = first(lines, r"recvfrom.*SELECT 1\\0", row_sent)
    assert written < file_synced < folder_synced < row_sent < committed < answered
    assert not any("rename" in line and "/objects/" in line for line in lines)


def test_a_manifest_is_acknowledged_after_its_commit(registry: Server, client: httpx.Client, tmp_path: Path) -> None:
    """By one statement, which is a transaction of its own, when its tag is new; else after several."""
    for kind, committed_by in (("new", r"SELECT 1\\0"), ("moved", "COMMIT")):
        image = make_image(layer_bytes=1000)
        for blob in image.blobs:
            push_blob(client, REPOSITORY, blob)
        log = tmp_path / kind

        with recorded(registry, log):
            put_manifest(client, REPOSITORY, "v1", image)

        lines = log.read_text().splitlines()
        answered = first(lines, r"HTTP/1\.1 201")
        sent = last(lines, r"sendto.*INSERT INTO content_manifest ", answered)
        thread = lines[sent].split()[0]
        assert sent < last(lines, rf"^{thread} .*recvfrom.*{committed_by}", answered), kind


def test_a_long_upload_is_flushed_as_it_grows(registry: Server, client: httpx.Client, tmp_path: Path) -> None:
    location = client.post(f"/v2/{REPOSITORY}/blobs/uploads/").headers["location"]
    log = tmp_path / "calls"

    with recorded(registry, log):
        assert client.patch(location, content=bytes(80 << 20)).status_code == 202

    lines = [line for line in log.read_text().splitlines() if "/objects/" in line]
    assert sum("fdatasync" in line for line in lines) >= 2
    # The kernel is told early: else nothing is written to the disk while the bytes come in.
    assert sum("sync_file_range" in line for line in lines) >= 15
    client.delete(location)


def test_postgres_keeps_what_it_acknowledges(registry: Server) -> None:
    with psycopg.connect(registry.database_url) as database:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            row = database.execute(f"SHOW {setting}").fetchone()
            assert row == ("on",)


def test_an_object_that_lost_its_last_bytes_is_found(registry: Server, client: httpx.Client) -> None:
    content = secrets.token_bytes(10_000)
    push_blob(client, REPOSITORY, content)
    objects = [path for path in (registry.data / "objects").rglob("*") if path.is_file()]
    broken = next(path for path in objects if path.read_bytes() == content)
    broken.write_bytes(content[:4096])

    wait_until(
        lambda: (
            registry.manage("from registry_core.content.check import check_storage; print(check_storage().is_clean)")
            == "False\n"
        ),
        what="the check finds it",
    )
    broken.write_bytes(content)
