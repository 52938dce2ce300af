"""The host that a request names: required, one, valid, and never told back unless it is."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.http.hosts import BadHost, is_valid, named_host
from tests.conftest import ServerFactory
from tests.http.raw import head, talk
from tests.support.server import Server

PATHS = ["/v2/", "/v2/a/b/manifests/x", "/service/token", "/api/v2.0/ping", "/sign-in"]
BAD = ["a b", 'evil",service="x', "a/b", "a\\b", "user@host", "a:b", "a:1:2", "[::1", "::1", "[zz]", "[1.2.3.4]",
       "a:99999", "é", "a?b", "a#b", "<a>", "a,b c", "%zz", "\x7f", "a" * 300]  # fmt: skip
GOOD = [
    "a",
    "a.b",
    "a.b.",
    "A.B:5000",
    "a_b",
    "127.0.0.1",
    "[::1]",
    "[::1]:5000",
    "a:",
    "xn--bcher-kva.example",
    "a-b:0",
]


@pytest.fixture(scope="module")
def anywhere(start_server: ServerFactory) -> Server:
    """A server that clients may call by any name."""
    return start_server(PORTOLAN_EXTERNAL_URL="")


@pytest.mark.parametrize("path", PATHS)
def test_a_request_says_once_which_host_it_is_for(anywhere: Server, path: str) -> None:
    missing = head(anywhere, "GET", path, {"Host": ""})
    twice = head(anywhere, "GET", path, {"Host": "a\r\nHost: a"})
    for request in (missing, twice):
        answer = talk(anywhere, [request])
        assert answer.status == 400
        assert b"Host" in answer.body
        if not path.startswith("/sign-in"):
            assert b'{"errors":[{"code":' in answer.body


@pytest.mark.parametrize("host", BAD)
def test_what_is_no_host_is_refused_and_not_told_back(anywhere: Server, host: str) -> None:
    begin = anywhere.log_size_bytes()
    for path in PATHS:
        answer = talk(anywhere, [f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()])
        assert answer.status == 400, path
        assert "www-authenticate" not in answer.headers
    assert b"Traceback" not in anywhere.log_path.read_bytes()[begin:]


@pytest.mark.parametrize("host", GOOD)
def test_every_form_of_host_is_taken(anywhere: Server, host: str) -> None:
    answer = talk(anywhere, [head(anywhere, "GET", "/v2/", {"Host": host})])
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith(f'Bearer realm="http://{host}/service/token"')


def test_pulls_from_memory_are_no_way_around(server: Server) -> None:
    """The one that is answered without the objects and turns of others looks at the host as well."""
    path = "/v2/library/none/manifests/x"
    for _ in range(3):
        assert talk(server, [head(server, "GET", path, {"Host": "a b"})]).status == 400
        assert talk(server, [head(server, "GET", path, {"Host": "a\r\nHost: b"})]).status == 400


def test_the_target_counts_when_it_names_a_host(anywhere: Server) -> None:
    """RFC 9112 §3.2.2: what the header says is ignored then, though it must be there."""
    for host in ("b.example", "a.example"):
        request = f"GET http://a.example/v2/ HTTP/1.1\r\nHost: {host}\r\n\r\n"
        answer = talk(anywhere, [request.encode()])
        assert 'realm="http://a.example/service/token"' in answer.headers["www-authenticate"]
    assert talk(anywhere, [b"GET http://a.example/v2/ HTTP/1.1\r\n\r\n"]).status == 400
    assert talk(anywhere, [b"GET http://a.example/v2/ HTTP/1.1\r\nHost: a b\r\n\r\n"]).status == 400


def test_without_a_host_the_challenge_leads_to_where_the_client_came(anywhere: Server, server: Server) -> None:
    answer = talk(anywhere, [b"GET /v2/ HTTP/1.0\r\n\r\n"])
    assert answer.headers["www-authenticate"].startswith(
        f'Bearer realm="http://127.0.0.1:{anywhere.port}/service/token"'
    )
    answer = talk(server, [b"GET /v2/ HTTP/1.0\r\n\r\n"])
    assert answer.headers["www-authenticate"].startswith(f'Bearer realm="{server.url}/service/token"')


def test_without_a_host_a_server_of_all_addresses_names_the_one_that_was_come_to(start_server: ServerFactory) -> None:
    everywhere = start_server(PORTOLAN_EXTERNAL_URL="", PORTOLAN_HOST="0.0.0.0")  # noqa: S104
    everywhere.address = "127.0.0.7"
    answer = talk(everywhere, [b"GET /v2/ HTTP/1.0\r\n\r\n"])
    assert answer.headers["www-authenticate"].startswith(
        f'Bearer realm="http://127.0.0.7:{everywhere.port}/service/token"'
    )


def test_a_host_that_is_not_ours_is_refused_in_the_form_of_the_endpoint(server: Server) -> None:
    """Where an external URL is configured; the log has a line for it and no traceback."""
    begin = server.log_size_bytes()
    answer = httpx.post(f"{server.url}/c/login", headers={"host": "evil.example", "origin": "http://evil.example"})
    if answer.status_code == 400:
        assert answer.json()["errors"][0]["code"] == "BAD_REQUEST"
    assert b"Traceback" not in server.log_path.read_bytes()[begin:]


@given(st.text(max_size=40))
def test_whatever_is_valid_can_stand_in_a_quoted_string_and_a_url(text: str) -> None:
    if is_valid(text):
        assert text.isascii()
        assert text.isprintable()
        assert not set(text) & set(' "\\/<>?#@^`{|}')


def lines_of(hosts: list[str]) -> Iterator[tuple[str, str]]:
    yield "accept", "*/*"
    yield from (("host", host) for host in hosts)


@given(st.lists(st.sampled_from(["a", "b:1", "a b"]), max_size=3), st.sampled_from([None, "t", "u@t", "t t"]))
def test_a_host_is_named_by_exactly_the_valid_requests(hosts: list[str], target: str | None) -> None:
    lines = [*lines_of(hosts)]
    is_good = len(hosts) == 1 and "a b" not in hosts and target != "t t"
    try:
        named = named_host(lines, dict(lines), target=target, version="1.1")
    except BadHost:
        assert not is_good
    else:
        assert is_good
        assert named == (target.removeprefix("u@") if target else hosts[0])
