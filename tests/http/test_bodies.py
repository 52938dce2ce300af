"""Request bodies: whole ones however they are cut into packets, and never one that broke off."""

from __future__ import annotations

import base64
import itertools
import json
import secrets
import socket
import ssl
from collections.abc import Callable, Iterator

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry_core.http.pace import Pace
from tests.conftest import ServerFactory
from tests.http.raw import NOTHING, Answer, basic, chunked, connect, head, read_answer, talk
from tests.support.people import admin, api_of, create_project
from tests.support.registry import MANIFEST_TYPE, digest_of, make_image, push_blob
from tests.support.server import Server
from tests.support.waiting import wait_until

TRAILERS = ("X-Sum: 1", "Server-Timing: db;dur=53")
CHUNKED = {"Transfer-Encoding": "chunked"}
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Site:
    """A server, and one repository in which everything happens."""

    def __init__(self, server: Server, project: str) -> None:
        self.server = server
        self.repository = f"{project}/app"
        create_project(server, project, is_public=True)
        self.client = httpx.Client(
            base_url=server.url,
            auth=(admin(server).name, admin(server).password),
            timeout=60,
            verify=False,  # noqa: S501
        )
        self.image = make_image(layer_bytes=64)
        for content in self.image.blobs:
            push_blob(self.client, self.repository, content)

    def send(self, method: str, target: str, framed: bytes, headers: dict[str, str], *, is_cut: bool = False) -> Answer:
        begin = head(self.server, method, target, basic(admin(self.server)) | headers)
        return talk(self.server, [begin + framed], is_cut=is_cut)

    def upload(self) -> str:
        answer = self.client.post(f"/v2/{self.repository}/blobs/uploads/").raise_for_status()
        return str(answer.headers["location"])

    def size(self, location: str) -> int:
        answer = self.client.get(location).raise_for_status()
        last = int(answer.headers["range"].removeprefix("0-"))
        return last + 1 if last else 0

    def manifest(self, note: str) -> bytes:
        return self.image.manifest[:-1] + f', "annotations": {{"n": "{note}"}}}}'.encode()

    def has(self, reference: str) -> bool:
        return self.client.head(f"/v2/{self.repository}/manifests/{reference}").status_code == 200


@pytest.fixture(scope="module")
def site(server: Server) -> Iterator[Site]:
    site = Site(server, f"t{secrets.token_hex(4)}")
    yield site
    site.client.close()


# --- each endpoint that takes a body: (its request, whether it was taken) --------------------------------------------


def patch(site: Site, content: bytes) -> tuple[str, str, dict[str, str]]:
    return "PATCH", site.upload(), {}


def put(site: Site, content: bytes) -> tuple[str, str, dict[str, str]]:
    return "PUT", f"{site.upload()}?digest={digest_of(content)}", {}


def post(site: Site, content: bytes) -> tuple[str, str, dict[str, str]]:
    return "POST", f"/v2/{site.repository}/blobs/uploads/?digest={digest_of(content)}", {}


CONTENTS = st.binary(min_size=1, max_size=400)
SIZES = st.lists(st.integers(1, 90), max_size=6)


@pytest.mark.parametrize("begin", [patch, put, post])
@pytest.mark.parametrize("trailers", [(), TRAILERS], ids=["plain", "trailers"])
def test_blobs_in_chunks_with_and_without_trailers(
    site: Site, begin: Callable[[Site, bytes], tuple[str, str, dict[str, str]]], trailers: tuple[str, ...]
) -> None:
    @FEW
    @given(CONTENTS, SIZES, st.lists(st.integers(1, 600), max_size=4))
    def is_taken(content: bytes, sizes: list[int], cuts: list[int]) -> None:
        method, target, headers = begin(site, content)
        request = head(site.server, method, target, basic(admin(site.server)) | CHUNKED | headers)
        request += chunked(content, *sizes, trailers=trailers)
        bounds = sorted({0, *(cut for cut in cuts if cut < len(request)), len(request)})
        answer = talk(site.server, [request[first:last] for first, last in itertools.pairwise(bounds)])
        assert answer.status in {201, 202}, answer
        if method == "PATCH":
            assert site.size(target) == (len(content) if len(content) > 1 else 0)

    is_taken()


@pytest.mark.parametrize("size", [100_000, 3 << 20])
def test_long_streams_with_trailers(site: Site, size: int) -> None:
    content = secrets.token_bytes(size)
    location = site.upload()
    answer = site.send("PATCH", location, chunked(content, 60_000, 1, 500_000, trailers=TRAILERS), CHUNKED)
    assert answer.status == 202
    assert site.client.put(location, params={"digest": digest_of(content)}).status_code == 201


def test_everything_else_with_trailers(site: Site) -> None:
    note = secrets.token_hex(8)
    target = f"/v2/{site.repository}/manifests/{note}"
    framed = chunked(site.manifest(note), 7, trailers=TRAILERS)
    answer = site.send("PUT", target, framed, CHUNKED | {"Content-Type": MANIFEST_TYPE})
    assert answer.status == 201
    assert site.has(note)

    account = admin(site.server)
    form = f"grant_type=password&service=harbor-registry&username={account.name}&password={account.password}".encode()
    answer = site.send("POST", "/service/token", chunked(form, 3, trailers=TRAILERS), CHUNKED)
    assert answer.status == 200

    body = json.dumps({"project_name": f"p{note}", "metadata": {"public": "true"}}).encode()
    framed = chunked(body, trailers=TRAILERS)
    answer = site.send("POST", "/api/v2.0/projects", framed, CHUNKED | {"Content-Type": "application/json"})
    assert answer.status == 201


def test_a_connection_goes_on_after_trailers(site: Site) -> None:
    with connect(site.server) as connection:
        for _ in range(3):
            request = head(site.server, "PATCH", site.upload(), basic(admin(site.server)) | CHUNKED)
            connection.sendall(request + chunked(b"hello", trailers=TRAILERS))
            assert read_answer(connection).status == 202


# --- cut off ---------------------------------------------------------------------------------------------------------


def endings(framed: bytes) -> Iterator[bytes]:
    """The body cut at every byte of its ends; of a long one at some in the middle."""
    for cut in range(len(framed)):
        if cut < 40 or cut > len(framed) - 60 or cut % 37 == 0:
            yield framed[:cut]


@pytest.mark.parametrize("trailers", [(), TRAILERS], ids=["plain", "trailers"])
def test_a_blob_that_is_cut_off_is_never_taken_for_whole(site: Site, trailers: tuple[str, ...]) -> None:
    content = secrets.token_bytes(50)
    for begin in (patch, put, post):
        for framed in endings(chunked(content, 20, trailers=trailers)):
            method, target, _ = begin(site, content)
            answer = site.send(method, target, framed, CHUNKED, is_cut=True)
            assert answer.status not in {201, 202}, (method, framed)
    for cut in (0, 1, 25, 49):
        method, target, _ = put(site, content)
        answer = site.send(method, target, content[:cut], {"Content-Length": "50"}, is_cut=True)
        assert answer.status not in {201, 202}


@pytest.mark.parametrize("trailers", [(), TRAILERS], ids=["plain", "trailers"])
def test_a_manifest_that_is_cut_off_is_never_taken_for_whole(site: Site, trailers: tuple[str, ...]) -> None:
    """Also where what came is JSON: blanks at the end belong to what is stored."""
    note = secrets.token_hex(8)
    content = site.manifest(note) + b"\n\n\n"
    for number, framed in enumerate(endings(chunked(content, len(content) - 2, trailers=trailers))):
        target = f"/v2/{site.repository}/manifests/{note}-{number}"
        answer = site.send("PUT", target, framed, CHUNKED | {"Content-Type": MANIFEST_TYPE}, is_cut=True)
        assert answer.status != 201, framed
        assert not site.has(f"{note}-{number}")


def test_a_form_or_an_api_request_that_is_cut_off_is_never_taken_for_whole(site: Site) -> None:
    account = admin(site.server)
    form = f"grant_type=password&username={account.name}&password={account.password}&scope=a&scope=b".encode()
    for framed in endings(chunked(form, trailers=TRAILERS)):
        assert site.send("POST", "/service/token", framed, CHUNKED, is_cut=True).status != 200, framed
    name = f"c{secrets.token_hex(4)}"
    body = json.dumps({"project_name": name, "metadata": {"public": "true"}}).encode() + b"   "
    for framed in endings(chunked(body, len(body) - 1, trailers=TRAILERS)):
        headers = CHUNKED | {"Content-Type": "application/json"}
        assert site.send("POST", "/api/v2.0/projects", framed, headers, is_cut=True).status != 201, framed
    with api_of(site.server, account) as api:
        assert api.get("projects", params={"name": name}).json() == []


def test_a_connection_that_is_reset_leaves_nothing_whole(site: Site) -> None:
    note = secrets.token_hex(8)
    framed = chunked(site.manifest(note), trailers=TRAILERS)
    for cut in range(len(framed) - 40, len(framed)):
        target = f"/v2/{site.repository}/manifests/{note}-{cut}"
        headers = basic(admin(site.server)) | CHUNKED | {"Content-Type": MANIFEST_TYPE}
        with connect(site.server) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall(head(site.server, "PUT", target, headers) + framed[:cut])
        assert not site.has(f"{note}-{cut}")


@pytest.mark.parametrize("framed", [b"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n"[:-2], b"5\r\nhello\r\n", b"5\r\nhel"])
def test_a_body_that_stops_is_given_up_with_an_answer_that_says_so(impatient: Server, framed: bytes) -> None:
    answer = talk(impatient, [head(impatient, "POST", "/service/token", CHUNKED) + framed])
    assert answer.status == 408
    assert b"too slowly" in answer.body


# --- over TLS --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure(start_server: ServerFactory) -> Iterator[Site]:
    site = Site(start_server(PORTOLAN_HOSTNAME="localhost", PORTOLAN_EXTERNAL_URL=""), "secure")
    yield site
    site.client.close()


def over_tls(site: Site, request: bytes, *, is_cut: bool) -> Answer:
    context = ssl.create_default_context(cafile=site.server.authority)
    connection = context.wrap_socket(connect(site.server), server_hostname="localhost")
    with connection:
        connection.sendall(request)
        if is_cut:
            connection.shutdown(socket.SHUT_WR)
            return NOTHING
        return read_answer(connection)


def test_trailers_and_cuts_over_tls(secure: Site) -> None:
    headers = basic(admin(secure.server)) | CHUNKED | {"Content-Type": MANIFEST_TYPE, "Trailer": "X-Sum"}
    framed = chunked(secure.manifest("tls") + b"\n\n", 300, trailers=TRAILERS)
    target = f"/v2/{secure.repository}/manifests/"
    assert over_tls(secure, head(secure.server, "PUT", f"{target}whole", headers) + framed, is_cut=False).status == 201
    for cut in range(len(framed) - 50, len(framed), 3):
        over_tls(secure, head(secure.server, "PUT", f"{target}cut-{cut}", headers) + framed[:cut], is_cut=True)
    assert secure.has("whole")
    assert secure.client.get(f"/v2/{secure.repository}/tags/list").json()["tags"] == ["whole"]


# --- slow ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def impatient(start_server: ServerFactory) -> Server:
    return start_server(
        PORTOLAN_BODY_IDLE_TIMEOUT_S="2", PORTOLAN_BODY_MIN_RATE_BYTES="1000", PORTOLAN_HEADER_TIMEOUT_S="3"
    )


@pytest.mark.parametrize("headers", [{"Content-Length": "100000"}, CHUNKED])
def test_a_body_that_trickles_is_given_up_though_it_never_stops(impatient: Server, headers: dict[str, str]) -> None:
    project = f"t{secrets.token_hex(4)}"
    create_project(impatient, project)
    target = f"/v2/{project}/a/blobs/uploads/"
    with httpx.Client(base_url=impatient.url, auth=(admin(impatient).name, admin(impatient).password)) as client:
        location = client.post(target).raise_for_status().headers["location"]
    piece = b"1\r\nx\r\n" if headers is CHUNKED else b"x"
    with connect(impatient) as connection:
        connection.sendall(head(impatient, "PATCH", location, basic(admin(impatient)) | headers))
        connection.settimeout(0.5)
        answer: list[Answer] = []

        def is_given_up() -> bool:
            try:
                connection.sendall(piece)
                answer.append(read_answer(connection))
            except TimeoutError:
                return False
            except ConnectionError:
                answer.append(NOTHING)
            return answer[-1] is not NOTHING

        wait_until(is_given_up, what="the body is given up")
    assert answer[-1].status == 408


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 10_000)), max_size=40))
def test_waiting_is_bounded_by_what_came(moves: list[tuple[float, int]]) -> None:
    """The model: however a sender paces itself, it is not waited for longer than that and its bytes allow."""
    pace = Pace(60.0, 100)
    waited_s, sent = 0.0, 0
    for wait_s, size in moves:
        if wait_s > pace.left_s:
            return
        waited_s, sent = waited_s + wait_s, sent + size
        pace.count(wait_s, size)
        assert waited_s <= 60 + sent / 100 + 1e-6
        assert 0 <= pace.left_s <= 60


def test_a_fast_sender_may_pause_and_a_slow_one_may_not_for_ever() -> None:
    pace = Pace(60.0, 1024)
    pace.count(1.0, 10 << 20)
    assert pace.left_s == 60.0
    for _ in range(2):
        pace.count(29.0, 1)
    assert pace.left_s < 3


# --- unread, and too large -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", ["length", "chunks"])
@pytest.mark.parametrize("path", ["/api/v2.0/users", "/sign-in", "/nothing", "/c/login"])
def test_a_stranger_sends_64_kib_and_no_more(server: Server, path: str, frame: str) -> None:
    for size, is_refused in ((60_000, False), (70_000, True), (5 << 20, True)):
        with connect(server) as connection:
            length = {"Content-Length": str(size)} if frame == "length" else CHUNKED
            connection.sendall(head(server, "POST", path, length))
            body = bytes(min(size, 70_000))
            connection.sendall(body if frame == "length" else chunked(body))
            assert (read_answer(connection).status == 413) is is_refused, size


def test_who_is_known_sends_more_by_basic_and_by_session(server: Server) -> None:
    account = admin(server)
    large = json.dumps({"project_name": "x" * (3 << 20)}).encode()
    answer = httpx.post(
        f"{server.url}/api/v2.0/projects", content=large, auth=(account.name, account.password), timeout=60
    )
    assert answer.status_code == 400
    assert "errors" in answer.json()
    with httpx.Client(base_url=server.url, timeout=60) as browser:
        login = browser.post("/c/login", data={"principal": account.name, "password": account.password})
        assert login.status_code == 200
        token = {"X-Harbor-CSRF-Token": login.headers["X-Harbor-CSRF-Token"]}
        assert browser.post("/api/v2.0/projects", content=large, headers=token).status_code == 400
        browser.cookies.set("sid", "x" * 32, domain="localhost.local")
    assert httpx.post(f"{server.url}/api/v2.0/projects", content=large, cookies={"sid": "no" * 16}).status_code == 413


@pytest.mark.parametrize("credentials", ["Basic " + base64.b64encode(b"admin:wrong").decode(), "Bearer x", "Digest x"])
def test_invalid_credentials_open_nothing(server: Server, credentials: str) -> None:
    with connect(server) as connection:
        headers = {"Authorization": credentials, "Content-Length": str(9 << 20)}
        connection.sendall(head(server, "POST", "/api/v2.0/users", headers))
        answer = read_answer(connection)
    assert answer.status in {401, 429}
    assert "errors" in json.loads(answer.body)
