"""Hostile input that only a running server can be shown to bear: its log, its connections to others, large bodies."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from tests.support.listening import Listener
from tests.support.people import admin
from tests.support.server import Server
from tests.support.waiting import wait_until

FORGED = '{"event":"access","status":200,"user":"forged"}'


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    """The administrator."""
    account = admin(server)
    url = f"{server.url}/api/v2.0"
    with httpx.Client(base_url=url, auth=(account.name, account.password), timeout=60) as client:
        yield client


class Trap(Listener):
    """A server that nobody should call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/latest/meta-data"

    def accepted(self, client: socket.socket) -> None:
        """Note that it was called after all."""
        self.calls += 1
        client.close()


@pytest.fixture
def trap() -> Iterator[Trap]:
    with Trap() as made:
        yield made


def test_line_ends_in_names_and_headers_make_no_line_of_the_log(server: Server, http: httpx.Client) -> None:
    before = server.log_path.stat().st_size
    encoded = FORGED.replace('"', "%22").replace("{", "%7B").replace("}", "%7D")
    for path in (f"/projects/x%0A{encoded}", f"/projects?q=name=x%0D%0A{encoded}", f"/users/1%0A{encoded}"):
        http.get(path)
    httpx.get(f"{http.base_url}/projects", auth=(f"x\n{FORGED}", f"y\n{FORGED}"), timeout=30)
    for separator in (b"\n", b"\r", b"\x0b", b"\x85", b"\xe2\x80\xa8", b"\x1b[2J"):
        for header in (b"X-Request-Id", b"User-Agent", b"X-Forwarded-For", b"Authorization"):
            head = b"GET /api/v2.0/projects HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            _send_raw(server, head + header + b": a" + separator + FORGED.encode())
    http.post("/labels", json={"name": f"a\n{FORGED}", "scope": "g"})
    http.post("/projects", json={"project_name": f"a\n{FORGED}"})
    http.get("/ping")

    def written() -> bytes:
        with server.log_path.open("rb") as log:
            log.seek(before)
            return log.read()

    wait_until(lambda: b"/api/v2.0/ping" in written(), what="the last line is written")
    lines = written().split(b"\n")
    assert len(lines) > 8
    for line in filter(None, lines):
        event = json.loads(line)
        assert event.get("user") != "forged", line
        assert b"\x1b" not in line


def _send_raw(server: Server, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection, suppress(OSError):
        connection.sendall(head + b"\r\n\r\n")
        connection.recv(4096)


def test_no_address_that_somebody_writes_into_a_field_is_called(http: httpx.Client, trap: Trap, unique: str) -> None:
    url = trap.url
    requests: list[tuple[str, str, dict[str, object]]] = [
        ("POST", "/registries", {"name": unique, "type": "harbor", "url": url, "insecure": True}),
        ("POST", "/registries/ping", {"type": "harbor", "url": url}),
        ("POST", "/scanners", {"name": unique, "url": url}),
        ("POST", "/scanners/ping", {"name": unique, "url": url}),
        ("POST", "/system/oidc/ping", {"url": url, "verify_cert": False}),
        ("POST", "/ldap/ping", {"ldap_url": f"ldap://127.0.0.1:{trap.port}"}),
        ("POST", "/p2p/preheat/instances", {"name": unique, "endpoint": url, "vendor": "dragonfly"}),
        ("POST", "/p2p/preheat/instances/ping", {"endpoint": url, "vendor": "dragonfly"}),
        ("POST", "/projects/library/webhook/policies", {"targets": [{"type": "http", "address": url}]}),
        ("POST", "/projects", {"project_name": unique, "registry_id": 1}),
        ("POST", "/users", {"username": unique, "password": "Portolan-1", "email": f"a@127.0.0.1:{trap.port}"}),
    ]
    for method, path, body in requests:
        answer = http.request(method, path, json=body)
        assert answer.status_code in {400, 404, 412, 501}, (path, answer.status_code, answer.text)
    assert trap.calls == 0


def test_addresses_in_the_settings_are_not_called_for_being_set(http: httpx.Client, trap: Trap) -> None:
    before = {name: entry["value"] for name, entry in http.get("/configurations").json().items()}
    names = ("oidc_endpoint", "http_authproxy_endpoint", "http_authproxy_tokenreview_endpoint", "uaa_endpoint")
    addresses = dict.fromkeys((name for name in names if name in before), trap.url)
    addresses |= {"ldap_url": f"ldap://127.0.0.1:{trap.port}"}
    for name, value in addresses.items():
        assert http.put("/configurations", json={name: value}).status_code in {200, 400}, name
    http.get("/configurations")
    http.get("/systeminfo")
    httpx.get(f"{http.base_url}/users/current", auth=("nobody-here", "Wrong-password-1"), timeout=30)
    assert trap.calls == 0
    for name in addresses:
        http.put("/configurations", json={name: before.get(name, "")})


def test_a_body_of_ten_megabytes_is_refused_or_read_and_never_an_error_of_ours(http: httpx.Client) -> None:
    for path, name in (("/projects", "project_name"), ("/labels", "name"), ("/users", "username")):
        answer = http.post(path, json={name: "x" * (10 << 20), "scope": "g"})
        assert answer.status_code in {400, 413}, (path, answer.status_code)
        assert answer.headers["content-type"].startswith("application/json")
        assert len(answer.content) < 2000, "what was sent is not told again"


def test_an_endless_body_is_not_waited_for(http: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        yield b'{"project_name": "'
        for _ in range(2000):
            yield b"x" * (64 << 10)

    try:
        answer = http.post("/projects", content=endless(), headers={"content-type": "application/json"})
    except httpx.TransportError:
        return  # the connection was closed over it
    assert answer.status_code in {400, 413}
