"""Which `Host` a request may name, and what is said to those who come under another one."""

from __future__ import annotations

import httpx
import pytest

from tests.conftest import ServerFactory
from tests.support.server import Server

EXTERNAL = "https://registry.test:8443"


@pytest.fixture(scope="module")
def named(start_server: ServerFactory) -> Server:
    """One that clients reach under a name, behind a proxy."""
    return start_server(PORTOLAN_EXTERNAL_URL=EXTERNAL)


@pytest.fixture(scope="module")
def unnamed(start_server: ServerFactory) -> Server:
    """One that was not told its address."""
    return start_server(PORTOLAN_EXTERNAL_URL="")


def get(server: Server, path: str, host: str) -> httpx.Response:
    return httpx.get(f"{server.url}{path}", headers={"host": host}, timeout=60)


@pytest.mark.parametrize("host", ["10.1.2.3:5121", "10.1.2.3", "[fd00::1]:5121", "node-7.internal"])
@pytest.mark.parametrize("path", ["/api/v2.0/ping", "/api/v2.0/health"])
def test_probes_are_answered_whatever_host_they_name(named: Server, path: str, host: str) -> None:
    assert get(named, path, host).status_code == 200


@pytest.mark.parametrize("host", ["registry.test:8443", "localhost:1", "127.0.0.1", "[::1]:5"])
def test_own_names_are_answered(named: Server, host: str) -> None:
    assert get(named, "/api/v2.0/systeminfo", host).status_code == 200


@pytest.mark.parametrize(
    "path", ["/api/v2.0/projects", "/api/v2.0/nothing", "/api/v2.0/users/current", "/sign-in", "/"]
)
def test_other_host_is_refused_in_the_form_of_the_address_with_one_line_in_the_log(named: Server, path: str) -> None:
    since = named.log_size_bytes()
    answer = get(named, path, "evil.example")
    assert answer.status_code == 400
    assert EXTERNAL in answer.text
    if path.startswith("/api"):
        assert answer.json()["errors"][0]["code"] == "BAD_REQUEST"
    else:
        assert "<html" in answer.text
        assert "content-security-policy" in answer.headers
    with named.log_path.open("rb") as log:
        log.seek(since)
        lines = [line.decode() for line in log if b"evil.example" in line]
    assert len(lines) == 1
    assert "PORTOLAN_EXTERNAL_URL" in lines[0]
    assert "Traceback" not in lines[0]


def test_form_from_an_address_that_is_not_known_names_the_setting(unnamed: Server) -> None:
    """As behind a proxy that ends TLS, when the registry was not told."""
    headers = {"host": "registry.test"}
    with httpx.Client(base_url=unnamed.url, headers=headers, timeout=60) as browser:
        token = browser.get("/sign-in").cookies["csrftoken"]
        since = unnamed.log_size_bytes()
        form = {"username": "admin", "password": unnamed.admin_password, "csrfmiddlewaretoken": token}
        cookies = {"cookie": f"csrftoken={token}", "origin": "https://registry.test"}
        answer = browser.post("/sign-in", data=form, headers=cookies)
    assert answer.status_code == 403
    assert "external_url" in answer.text
    assert "trusted_proxies" in answer.text
    assert "https://registry.test" in answer.text
    assert b"PORTOLAN_EXTERNAL_URL" in unnamed.log_path.read_bytes()[since:]


def test_form_that_is_only_old_is_not_blamed_on_the_address(unnamed: Server) -> None:
    answer = httpx.post(
        f"{unnamed.url}/sign-in", data={"username": "admin"}, headers={"origin": unnamed.url}, timeout=60
    )
    assert answer.status_code == 403
    assert "out of date" in answer.text
