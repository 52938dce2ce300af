"""Hostile clients: slow, many, endless. They are bounded, and everybody else is served meanwhile."""

from __future__ import annotations

import resource
import secrets
import socket
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from registry_core.distribution.uploads import PIECE_BYTES
from tests.conftest import ServerFactory
from tests.support.extent import IS_FULL
from tests.support.people import admin
from tests.support.registry import push_blob, sign_in
from tests.support.server import Server
from tests.support.waiting import wait_until

REPOSITORY = "library/hostile"
CONNECTIONS = 1000
STALLED_READERS = 100
UPLOADS = 10_000 if IS_FULL else 1_000
PATIENCE_S = 5.0


@pytest.fixture(scope="module")
def registry(start_server: ServerFactory) -> Server:
    return start_server(
        PORTOLAN_HEADER_TIMEOUT_S="4", PORTOLAN_BODY_IDLE_TIMEOUT_S="4", PORTOLAN_MAX_UPLOADS_AT_ONCE="8"
    )


@pytest.fixture
def client(registry: Server) -> Iterator[httpx.Client]:
    headers = sign_in(registry, admin(registry), f"repository:{REPOSITORY}:pull,push")
    with httpx.Client(base_url=registry.url, headers=headers, timeout=30) as connected:
        yield connected


@pytest.fixture
def many_sockets(registry: Server) -> Iterator[list[socket.socket]]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    opened: list[socket.socket] = []
    yield opened
    for one in opened:
        one.close()


def connect(registry: Server, opened: list[socket.socket], begin: bytes = b"") -> socket.socket:
    one = socket.create_connection(("127.0.0.1", registry.port), timeout=30)
    if begin:
        one.sendall(begin)
    opened.append(one)
    return one


def is_closed(one: socket.socket) -> bool:
    """Whether the server ended the connection, with or without an answer before."""
    one.setblocking(False)
    try:
        while one.recv(65_536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


def memory_bytes(registry: Server) -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in registry.pids())


def open_files(registry: Server) -> int:
    return sum(psutil.Process(pid).num_fds() for pid in registry.pids())


def served_within_s(client: httpx.Client) -> float:
    begin_s = time.monotonic()
    assert client.get("/v2/").status_code == 200
    return time.monotonic() - begin_s


def test_a_thousand_slow_heads_keep_nobody_waiting_and_are_ended(
    registry: Server, client: httpx.Client, many_sockets: list[socket.socket]
) -> None:
    before = open_files(registry)
    for _ in range(CONNECTIONS):
        connect(registry, many_sockets, b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ")

    assert served_within_s(client) < PATIENCE_S

    wait_until(lambda: all(is_closed(one) for one in many_sockets), what="the slow ones are ended", within_s=60)
    wait_until(lambda: open_files(registry) < before + 100, what="their files are closed")


def test_a_thousand_idle_connections_keep_nobody_waiting(
    registry: Server, client: httpx.Client, many_sockets: list[socket.socket]
) -> None:
    before = memory_bytes(registry)
    for _ in range(CONNECTIONS):
        connect(registry, many_sockets)

    assert served_within_s(client) < PATIENCE_S
    assert memory_bytes(registry) - before < 100 << 20


def test_a_body_that_stops_coming_is_given_up(
    registry: Server, client: httpx.Client, many_sockets: list[socket.socket]
) -> None:
    token = client.headers["authorization"]
    head = f"PUT /v2/{REPOSITORY}/manifests/slow HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n"
    slow = connect(registry, many_sockets, f"{head}Content-Length: 1000\r\n\r\n{{".encode())

    wait_until(lambda: is_closed(slow), what="the slow body is given up", within_s=30)


def test_readers_that_do_not_read_hold_little_memory_each(
    registry: Server, client: httpx.Client, many_sockets: list[socket.socket]
) -> None:
    digest = push_blob(client, REPOSITORY, secrets.token_bytes(16 << 20))
    asked = f"GET /v2/{REPOSITORY}/blobs/{digest} HTTP/1.1\r\nHost: x\r\n"
    asked += f"Authorization: {client.headers['authorization']}\r\n\r\n"
    before = memory_bytes(registry)

    stalled = [connect(registry, many_sockets, asked.encode()) for _ in range(STALLED_READERS)]
    for one in stalled:
        assert one.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 200"
    time.sleep(2)  # by then the server has read of the file what it reads ahead of them

    grown = memory_bytes(registry) - before
    print(f"{grown / STALLED_READERS / (1 << 20):.2f} MiB each")
    assert grown / STALLED_READERS < 1 << 20


def test_an_endless_manifest_is_refused_at_the_limit(
    registry: Server, many_sockets: list[socket.socket], client: httpx.Client
) -> None:
    before = memory_bytes(registry)
    token = client.headers["authorization"]
    head = f"PUT /v2/{REPOSITORY}/manifests/endless HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n"
    endless = connect(registry, many_sockets, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
    chunk = b"10000\r\n" + bytes(65_536) + b"\r\n"
    sent = 0
    try:
        while sent < 64 << 20:
            endless.sendall(chunk)
            sent += len(chunk)
    except OSError:
        pass

    assert sent < 32 << 20
    assert memory_bytes(registry) - before < 64 << 20


def test_a_flood_of_headers_is_refused(registry: Server, many_sockets: list[socket.socket]) -> None:
    flood = b"".join(b"X-H%d: %s\r\n" % (number, b"a" * 1000) for number in range(2000))
    one = connect(registry, many_sockets)
    try:
        one.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + flood + b"\r\n")
        answer = one.recv(1000)
    except ConnectionError:
        answer = b""

    assert not answer or b" 431 " in answer.split(b"\r\n")[0] or b" 400 " in answer.split(b"\r\n")[0]


def test_thousands_of_idle_uploads_cost_no_memory_and_no_files(registry: Server, client: httpx.Client) -> None:
    push_blob(client, REPOSITORY, secrets.token_bytes(100))
    memory, files = memory_bytes(registry), open_files(registry)
    for _ in range(UPLOADS):
        assert client.post(f"/v2/{REPOSITORY}/blobs/uploads/").status_code == 202

    assert memory_bytes(registry) - memory < 64 << 20
    assert open_files(registry) - files < 50
    assert served_within_s(client) < PATIENCE_S


def test_more_uploads_at_once_than_allowed_are_told_to_wait(
    registry: Server, client: httpx.Client, many_sockets: list[socket.socket]
) -> None:
    token = client.headers["authorization"]
    answers: list[bytes] = []
    for _ in range(40):
        location = client.post(f"/v2/{REPOSITORY}/blobs/uploads/").headers["location"]
        head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nContent-Length: 10000000\r\n\r\n"
        connect(registry, many_sockets, head.encode() + bytes(PIECE_BYTES))

    def some_are_told() -> bool:
        for one in many_sockets:
            one.setblocking(False)
            try:
                answers.append(one.recv(4000))
            except BlockingIOError:
                continue
        return any(b" 429 " in answer and b"retry-after" in answer for answer in answers)

    wait_until(some_are_told, what="some are told to wait")
    assert served_within_s(client) < PATIENCE_S
