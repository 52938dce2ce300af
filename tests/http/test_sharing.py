"""One hostile client of many connections, and another who pushes and pulls meanwhile."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Callable, Iterator

import httpx
import psutil
import pytest

from tests.conftest import ServerFactory
from tests.http.raw import basic, connect, head, read_answer
from tests.support.people import Account, add_member, create_project, create_user
from tests.support.registry import digest_of
from tests.support.server import Server
from tests.support.waiting import wait_until

SLOTS = 16
CONNECTIONS = 60
MIB = 1 << 20


class Site:
    """A server of one worker with a hostile user and a good one, each with a project."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.mallory, self.ada = create_user(server, "mallory"), create_user(server, "ada")
        for project, account in (("hostile", self.mallory), ("good", self.ada)):
            create_project(server, project, is_public=True)
            add_member(server, project, account, role="MAINTAINER")

    def client(self, account: Account | None, source: str = "127.0.0.1") -> httpx.Client:
        auth = (account.name, account.password) if account else None
        transport = httpx.HTTPTransport(local_address=source)
        return httpx.Client(base_url=self.server.url, auth=auth, timeout=60, transport=transport)

    def works(self, times: int = 10) -> None:
        """The good one pushes and pulls, by all ways, at once."""
        with self.client(self.ada) as client:
            for size in [100, 100_000, 2 * MIB] * (times // 3):
                content = secrets.token_bytes(size)
                answer = client.post("/v2/good/a/blobs/uploads/")
                assert answer.status_code == 202
                location = answer.headers["location"]
                assert client.patch(location, content=content).status_code == 202
                digest = digest_of(content)
                assert client.put(location, params={"digest": digest}).status_code == 201
                assert client.get(f"/v2/good/a/blobs/{digest}").content == content
            body = json.dumps({"name": "x" * 200_000}).encode()
            assert client.post("/api/v2.0/labels", content=body).status_code == 400


@pytest.fixture(scope="module")
def site(start_server: ServerFactory) -> Site:
    return Site(
        start_server(
            PORTOLAN_WORKERS="1",
            PORTOLAN_MAX_UPLOADS_AT_ONCE=str(SLOTS),
            PORTOLAN_BODY_MEMORY_BYTES=str(32 * MIB),
        )
    )


@pytest.fixture
def opened() -> Iterator[list[socket.socket]]:
    sockets: list[socket.socket] = []
    yield sockets
    for one in sockets:
        one.close()


def attack(site: Site, opened: list[socket.socket], begin: Callable[[int], bytes], source: str = "127.0.0.1") -> None:
    for number in range(CONNECTIONS):
        one = connect(site.server, source=source)
        opened.append(one)
        one.setblocking(False)
        content = memoryview(begin(number))
        while content:
            try:
                content = content[one.send(content) :]
            except BlockingIOError:
                break  # it is not read
            except ConnectionError:
                break  # it was refused


def uploads(site: Site, length: int, sent: int) -> Callable[[int], bytes]:
    with site.client(site.mallory) as client:
        location = client.post("/v2/hostile/a/blobs/uploads/").headers["location"]
        locations = [client.post("/v2/hostile/a/blobs/uploads/").headers["location"] for _ in range(CONNECTIONS)]

    def begin(number: int) -> bytes:
        where = locations[number] if number % 2 else location
        headers = basic(site.mallory) | {"Content-Length": str(length)}
        return head(site.server, "PATCH", where, headers) + bytes(sent)

    return begin


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
@pytest.mark.parametrize(("length", "sent"), [(10, 1), (500_000, 400_000), (10 * MIB, 1), (10 * MIB, MIB)])
def test_uploads_that_do_not_go_on_stop_nobody_elses(
    site: Site, opened: list[socket.socket], length: int, sent: int, source: str
) -> None:
    attack(site, opened, uploads(site, length, sent), source)
    site.works()


def test_who_writes_too_many_at_once_is_told_so(site: Site, opened: list[socket.socket]) -> None:
    attack(site, opened, uploads(site, 10 * MIB, MIB))
    refused = []

    def is_told() -> bool:
        for one in opened:
            one.setblocking(False)
            try:
                refused.append(one.recv(4096))
            except (BlockingIOError, ConnectionError):
                continue
        return any(b" 429 " in answer and b"retry-after" in answer for answer in refused)

    wait_until(is_told, what="some are told to send fewer at a time")
    site.works()


@pytest.mark.parametrize("path", ["/nothing", "/api/v2.0/users", "/service/token", "/sign-in"])
def test_strangers_who_send_and_send_stop_nobody(site: Site, opened: list[socket.socket], path: str) -> None:
    worker = psutil.Process(site.server.pids()[-1])
    before = worker.memory_info().rss
    request = head(site.server, "POST", path, {"Content-Length": str(10 * MIB - 1)})
    attack(site, opened, lambda _: request + bytes(2 * MIB))
    site.works(3)
    assert worker.memory_info().rss - before < 64 * MIB


def test_one_user_does_not_take_all_memory_for_bodies(site: Site, opened: list[socket.socket]) -> None:
    worker = psutil.Process(site.server.pids()[-1])
    with site.client(site.mallory) as client:
        client.get("/api/v2.0/users/current").raise_for_status()
    before = worker.memory_info().rss
    request = head(site.server, "POST", "/api/v2.0/labels", basic(site.mallory) | {"Content-Length": str(9 * MIB)})
    attack(site, opened, lambda _: request + bytes(8 * MIB))
    wait_until(lambda: any(answered(one, b" 429 ") for one in opened), what="some are told to send fewer at a time")
    site.works(3)
    assert worker.memory_info().rss - before < 128 * MIB


@pytest.mark.parametrize("path", ["/nothing", "/service/token"])
def test_short_bodies_count_before_they_have_come(site: Site, opened: list[socket.socket], path: str) -> None:
    """The server gathers them for us, so each takes its room from when it is announced."""
    request = head(site.server, "POST", path, {"Content-Length": "65000"})
    for _ in range(20 * MIB // 65_000):
        opened.append(connect(site.server, source="127.0.0.2"))
        opened[-1].sendall(request)
    wait_until(lambda: any(answered(one, b" 429 ") for one in opened), what="some are told to send fewer at a time")
    site.works(3)


def test_first_pieces_of_uploads_count_before_they_are_whole(site: Site, opened: list[socket.socket]) -> None:
    with site.client(site.mallory) as client:
        begun = [client.post("/v2/hostile/a/blobs/uploads/").headers["location"] for _ in range(CONNECTIONS)]
    headers = basic(site.mallory) | {"Content-Length": str(10 * MIB)}
    attack(site, opened, lambda number: head(site.server, "PATCH", begun[number], headers) + bytes(400_000))
    wait_until(lambda: any(answered(one, b" 429 ") for one in opened), what="some are told to send fewer at a time")
    site.works(3)


def answered(one: socket.socket, what: bytes) -> bool:
    one.setblocking(False)
    try:
        return what in one.recv(4096)
    except (BlockingIOError, ConnectionError):
        return False


def test_a_slow_reader_of_many_connections_stops_nobody(site: Site, opened: list[socket.socket]) -> None:
    content = secrets.token_bytes(4 * MIB)
    with site.client(site.ada) as client:
        digest = digest_of(content)
        client.post("/v2/good/a/blobs/uploads/", params={"digest": digest}, content=content).raise_for_status()
    ranges = ",".join(f"{place * 100_000}-{place * 100_000 + 99_990}" for place in range(40))
    request = head(site.server, "GET", f"/v2/good/a/blobs/{digest}", {"Range": f"bytes={ranges}"})
    attack(site, opened, lambda _: request, "127.0.0.2")
    with site.client(None) as client:
        answer = client.get(f"/v2/good/a/blobs/{digest}", headers={"range": "bytes=0-9,2000000-3999999"})
        assert answer.status_code == 206
        assert len(answer.content) > 2_000_000
    site.works(3)


def test_slow_readers_from_many_addresses_stop_nobody(site: Site, opened: list[socket.socket]) -> None:
    """Together they have every place for bodies that pass through, and would keep them as long as a byte moves."""
    content = bytes(16 * MIB)
    with site.client(site.ada) as client:
        digest = digest_of(content)
        client.post("/v2/good/a/blobs/uploads/", params={"digest": digest}, content=content).raise_for_status()
    path = f"/v2/good/a/blobs/{digest}"
    request = head(site.server, "GET", path, {"Range": "bytes=0-7999999,8000100-15999999"})
    for number in range(CONNECTIONS):
        one = socket.socket()
        opened.append(one)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.bind((f"127.0.1.{number + 1}", 0))
        one.connect((site.server.address, site.server.port))
        one.sendall(request)
    with site.client(None) as client:
        answer = client.get(path, headers={"range": "bytes=0-9,2000000-3999999"})
        assert answer.status_code == 206
        assert len(answer.content) > 2_000_000


def test_answers_still_come_when_the_attack_is_over(site: Site) -> None:
    with connect(site.server) as connection:
        connection.sendall(head(site.server, "GET", "/v2/"))
        assert read_answer(connection).status == 401
    site.works()
