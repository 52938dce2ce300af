"""Connections: how long idle ones live, and that one address cannot have all of them."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import psutil
import pytest

from registry_core.config import Config
from registry_core.machine.sockets import connections, is_peer_there
from tests.conftest import ServerFactory
from tests.http.raw import connect, head, read_answer
from tests.support.people import create_project
from tests.support.registry import digest_of
from tests.support.server import Server
from tests.support.waiting import wait_until

TIMEOUT_S = 4
MAX_CONNECTIONS = 40


@pytest.fixture(scope="module")
def crowded(start_server: ServerFactory) -> Server:
    return start_server(
        PORTOLAN_WORKERS="1",
        PORTOLAN_HEADER_TIMEOUT_S=str(TIMEOUT_S),
        PORTOLAN_MAX_CONNECTIONS=str(MAX_CONNECTIONS),
        PORTOLAN_EXTERNAL_URL="",
    )


@pytest.fixture(scope="module")
def patient(start_server: ServerFactory) -> Server:
    """Where what trickles ends by itself after an hour."""
    return start_server(
        PORTOLAN_WORKERS="1",
        PORTOLAN_HEADER_TIMEOUT_S="3600",
        PORTOLAN_BODY_IDLE_TIMEOUT_S="3600",
        PORTOLAN_MAX_CONNECTIONS=str(MAX_CONNECTIONS),
        PORTOLAN_EXTERNAL_URL="",
    )


@pytest.fixture
def opened() -> Iterator[list[socket.socket]]:
    """Sockets that are closed at the end."""
    sockets: list[socket.socket] = []
    yield sockets
    for one in sockets:
        one.close()


def is_ended(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        return one.recv(1 << 16) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_idle_connections_outlive_those_of_a_proxy_in_front() -> None:
    assert Config.model_fields["header_timeout_s"].default > 60 + 5


def test_an_idle_connection_lives_its_time_and_ends(crowded: Server, opened: list[socket.socket]) -> None:
    opened.append(connect(crowded))
    opened[0].sendall(head(crowded, "GET", "/v2/"))
    assert read_answer(opened[0]).status == 401
    begin_s = time.monotonic()
    wait_until(lambda: is_ended(opened[0]), what="the idle connection ends")
    assert time.monotonic() - begin_s > TIMEOUT_S - 1


def test_a_head_that_trickles_must_come_within_the_same_time(crowded: Server, opened: list[socket.socket]) -> None:
    opened.append(connect(crowded))
    opened[0].sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ")

    def is_over() -> bool:
        try:
            opened[0].sendall(b"a")
        except ConnectionError:
            return True
        return is_ended(opened[0])

    wait_until(is_over, what="the slow head is given up")


def answers_within_s(server: Server, *, source: str = "127.0.0.1") -> float:
    begin_s = time.monotonic()
    transport = httpx.HTTPTransport(local_address=source)
    with httpx.Client(base_url=server.url, transport=transport, timeout=60) as client:
        assert client.get("/api/v2.0/ping").status_code == 200
    return time.monotonic() - begin_s


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"POST /service/token HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n",
        b"POST /api/v2.0/users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["idle", "slow heads", "slow bodies", "slow streams"],
)
@pytest.mark.parametrize("source", ["127.0.0.3", "127.0.0.1"], ids=["others", "the same address"])
def test_one_address_with_all_connections_keeps_nobody_out(
    crowded: Server, opened: list[socket.socket], source: str, begin: bytes
) -> None:
    """Long before the hostile connections would end by themselves."""
    for _ in range(3 * MAX_CONNECTIONS):
        one = socket.create_connection((crowded.address, crowded.port), timeout=60, source_address=(source, 0))
        opened.append(one)
        if begin:
            one.sendall(begin)
    assert answers_within_s(crowded) < 60
    wait_until(lambda: sum(map(is_ended, opened)) > MAX_CONNECTIONS // 8, what="some of the hostile ones are ended")


@pytest.mark.parametrize("kind", ["heads", "bodies", "readers"])
def test_connections_that_are_kept_busy_by_hardly_anything_keep_nobody_out(
    patient: Server, opened: list[socket.socket], unique: str, kind: str
) -> None:
    """Something moves on each of them all the time, and none would end by itself for very long."""
    begin = {
        "heads": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        "bodies": b"POST /service/token HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n",
        "readers": b"",
    }[kind]
    if kind == "readers":
        begin = head(patient, "GET", _large_blob(patient, unique))
    for _ in range(MAX_CONNECTIONS + MAX_CONNECTIONS // 4):
        one = socket.socket()
        opened.append(one)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.bind(("127.0.0.3", 0))
        one.connect((patient.address, patient.port))
        one.setblocking(False)
        one.sendall(begin)
    with ThreadPoolExecutor(1) as pool:
        probe = pool.submit(answers_within_s, patient)

        def is_let_in() -> bool:
            for one in opened:
                with suppress(OSError):
                    one.recv(16) if kind == "readers" else one.send(b"a")
            return probe.done()

        wait_until(is_let_in, what="another address is let in", within_s=120)
        probe.result()


def _large_blob(server: Server, unique: str) -> str:
    """The path of a blob that anybody may pull, and that no socket's buffers hold."""
    create_project(server, unique, is_public=True)
    content = bytes(16 << 20)
    digest = digest_of(content)
    with httpx.Client(base_url=server.url, auth=("admin", server.admin_password), timeout=60) as client:
        answer = client.post(f"/v2/{unique}/a/blobs/uploads/", params={"digest": digest}, content=content)
        assert answer.status_code == 201
    return f"/v2/{unique}/a/blobs/{digest}"


def test_a_modest_address_keeps_its_connections(crowded: Server, opened: list[socket.socket]) -> None:
    modest = connect(crowded, source="127.0.0.9")

    def is_answered() -> bool:
        modest.sendall(head(crowded, "GET", "/v2/"))
        return read_answer(modest).status == 401

    assert is_answered()
    for _ in range(MAX_CONNECTIONS):
        opened.append(
            socket.create_connection((crowded.address, crowded.port), timeout=60, source_address=("127.0.0.4", 0))
        )
    wait_until(lambda: is_answered() and any(map(is_ended, opened)), what="the greedy address gives way")
    assert is_answered()
    modest.close()


def test_connections_are_found_and_none_is_left_open_by_looking() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0] as served:
            peer = "{}:{}".format(*client.getsockname())
            before = psutil.Process().num_fds()
            assert is_peer_there(peer, port)
            assert any(one.peer == peer and one.local_port == port for one in connections())
            client.shutdown(socket.SHUT_WR)
            wait_until(lambda: not is_peer_there(peer, port), what="the other end is seen to be closed")
            assert served.recv(1) == b""
            assert psutil.Process().num_fds() == before
    assert not is_peer_there(peer, port)


DRAINING = """
import os, socket
from registry_core.http.draining import stop_accepting
listener = socket.create_server(("127.0.0.1", 0))
port, others = listener.getsockname()[1], [*os.pipe(), os.open("/dev/null", os.O_RDONLY)]
before = len(os.listdir("/dev/fd"))
stop_accepting()
print(listener.getsockname()[1] != port, len(os.listdir("/dev/fd")) - before)
"""


def test_a_worker_that_stops_accepting_leaves_no_descriptor_open() -> None:
    """Most of its descriptors are no sockets; a copy of each stayed until the worker ended."""
    done = subprocess.run([sys.executable, "-c", DRAINING], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "0"]
