"""The registry behind a proxy: who the client is, by which address it came, and uploads under a path prefix."""

from __future__ import annotations

import functools
import json
import re
import secrets
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import httpx
import pytest

from tests.conftest import ServerFactory
from tests.support.people import admin
from tests.support.registry import TIMEOUT_S, digest_of, make_image, put_manifest
from tests.support.server import Server
from tests.support.waiting import wait_until

get = functools.partial(httpx.get, timeout=TIMEOUT_S)
post_to = functools.partial(httpx.post, timeout=TIMEOUT_S)
patch = functools.partial(httpx.patch, timeout=TIMEOUT_S)
PREFIX = "/registry"
OUTSIDE = "https://hub.example.org"


class PrefixProxy(BaseHTTPRequestHandler):
    """A proxy as an operator sets one up: strips the prefix, and says who asked and how."""

    protocol_version = "HTTP/1.1"
    upstream: ClassVar[str] = ""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _forward(self) -> None:
        if not self.path.startswith(f"{PREFIX}/"):
            self.send_error(404)
            return
        headers = {name.lower(): value for name, value in self.headers.items()} | {
            "x-forwarded-for": self.client_address[0],
            "x-forwarded-proto": "https",
            "x-forwarded-host": "hub.example.org",
        }
        body = self.rfile.read(int(headers.get("content-length", "0")))
        path = self.path.removeprefix(PREFIX)
        answer = httpx.request(
            self.command, self.upstream + path, headers=headers, content=body or None, timeout=TIMEOUT_S
        )
        self.send_response_only(answer.status_code)
        for name, value in answer.headers.multi_items():
            if name not in {"transfer-encoding", "connection", "content-length"}:
                self.send_header(name, value)
        self.send_header("content-length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _forward


@pytest.fixture(scope="module")
def behind_prefix(start_server: ServerFactory) -> Iterator[tuple[Server, str]]:
    """A registry whose external URL has a path, and the address of the proxy in front of it."""
    server = start_server(PORTOLAN_EXTERNAL_URL=OUTSIDE + PREFIX, PORTOLAN_TRUSTED_PROXIES="127.0.0.0/8")
    handler = type("Handler", (PrefixProxy,), {"upstream": server.url})
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    yield server, f"http://127.0.0.1:{proxy.server_port}{PREFIX}"
    proxy.shutdown()
    proxy.server_close()


@pytest.fixture(scope="module")
def trusting(start_server: ServerFactory) -> Server:
    """A registry that believes this machine's proxies, and has no external URL. One process counts wrong passwords."""
    return start_server(PORTOLAN_EXTERNAL_URL="", PORTOLAN_TRUSTED_PROXIES="127.0.0.1, fd00::/8", PORTOLAN_WORKERS="1")


def realm(answer: httpx.Response) -> str:
    found = re.search(r'realm="([^"]+)"', answer.headers["www-authenticate"])
    assert found is not None
    return found[1]


def test_an_upload_works_under_a_prefix(behind_prefix: tuple[Server, str], unique: str) -> None:
    server, url = behind_prefix
    repository, image = f"library/{unique}", make_image(layer_bytes=50_000)
    with httpx.Client(base_url=url, headers=_token(server, url, repository), timeout=TIMEOUT_S) as client:
        for blob in image.blobs:
            assert _push(client, url, repository, blob).headers["location"].startswith(f"{PREFIX}/v2/{repository}/")
        put = client.put(
            f"/v2/{repository}/manifests/1",
            content=image.manifest,
            headers={"content-type": "application/vnd.oci.image.manifest.v1+json"},
        )
        assert put.status_code == 201, put.text
        assert put.headers["location"] == f"{PREFIX}/v2/{repository}/manifests/{image.digest}"
        assert client.get(f"/v2/{repository}/manifests/1").content == image.manifest


def test_an_upload_out_of_order_and_a_next_page_stay_under_the_prefix(
    behind_prefix: tuple[Server, str], unique: str
) -> None:
    server, url = behind_prefix
    repository, image = f"library/{unique}", make_image(layer_bytes=10)
    with httpx.Client(base_url=url, headers=_token(server, url, repository), timeout=TIMEOUT_S) as client:
        begun = client.post(f"/v2/{repository}/blobs/uploads/")
        wrong = patch(
            httpx.URL(url).join(begun.headers["location"]),
            content=b"abc",
            headers={**client.headers, "content-range": "7-9"},
        )
        assert (wrong.status_code, wrong.headers["location"]) == (416, begun.headers["location"])
        for blob in image.blobs:
            _push(client, url, repository, blob)
        for tag in ("a", "b"):
            put_manifest(client, repository, tag, image)
        assert client.get(f"/v2/{repository}/tags/list?n=1").headers["link"].startswith(f"<{PREFIX}/v2/{repository}/")


def test_a_client_at_the_root_of_the_host_gets_its_token_under_the_prefix(
    behind_prefix: tuple[Server, str], unique: str
) -> None:
    server, _ = behind_prefix
    answer = get(f"{server.url}/v2/", headers={"host": "hub.example.org"})
    assert realm(answer) == f"{OUTSIDE}{PREFIX}/service/token"


def test_the_console_lives_under_the_prefix(behind_prefix: tuple[Server, str]) -> None:
    server, url = behind_prefix
    with httpx.Client(timeout=TIMEOUT_S) as client:
        page = client.get(f"{url}/projects")
        assert (page.status_code, page.headers["location"]) == (302, f"{PREFIX}/sign-in?next={PREFIX}/projects")
        form = client.get(f"{url}/sign-in")
        assert f"Path={PREFIX}" in form.headers["set-cookie"]
        assert "Secure" in form.headers["set-cookie"]
        assert f'action="{PREFIX}/sign-in"' in form.text
        for asset in re.findall(r'(?:href|src)="([^"]+\.(?:css|js))"', form.text):
            assert client.get(httpx.URL(url).join(asset)).status_code == 200, asset
        missing = client.get(f"{url}/api/v2.0/nothing")
        assert missing.json()["errors"][0]["code"] == "NOT_FOUND"
        signed_in = _sign_in(client, url, form, server)
        assert (signed_in.status_code, signed_in.headers["location"]) == (302, f"{PREFIX}/projects")


def test_scheme_and_host_of_a_trusted_proxy_are_told_to_clients(trusting: Server) -> None:
    said = {"x-forwarded-for": "198.51.100.7", "x-forwarded-proto": "https", "x-forwarded-host": "hub.example.org"}
    answer = get(f"{trusting.url}/v2/", headers=said)
    assert realm(answer) == f"{OUTSIDE}/service/token"
    assert answer.headers["strict-transport-security"]
    assert _last_client(trusting) == "198.51.100.7"
    standard = get(f"{trusting.url}/v2/", headers={"forwarded": 'for="[2001:DB8::7]";proto=https;host=a.test'})
    assert realm(standard) == "https://a.test/service/token"
    assert _last_client(trusting) == "2001:db8::7"


def test_several_lines_are_one_list_and_its_right_end_counts(trusting: Server) -> None:
    lines = [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "198.51.100.2"), ("x-forwarded-for", "fd00::1")]
    get(f"{trusting.url}/v2/", headers=lines)
    assert _last_client(trusting) == "198.51.100.2"


def test_django_sees_what_the_proxy_says(trusting: Server) -> None:
    told = {"x-forwarded-for": "198.51.100.7", "x-forwarded-proto": "https", "x-forwarded-host": "hub.example.org"}
    form = get(f"{trusting.url}/sign-in", headers=told)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form.text)
    assert token is not None

    def post(origin: str) -> int:
        return post_to(
            f"{trusting.url}/sign-in",
            headers=told | {"origin": origin, "referer": f"{origin}/sign-in"},
            cookies=dict(form.cookies),
            data={"csrfmiddlewaretoken": token[1], "username": "nobody", "password": "Wrong-1"},
        ).status_code

    assert post(OUTSIDE) not in {403, 500}  # the same origin as the request's own, by its scheme and host
    assert post("http://hub.example.org") == 403


def test_nobody_is_believed_unless_named(server: Server) -> None:
    said = {"x-forwarded-for": "198.51.100.7", "forwarded": "for=198.51.100.7;host=evil.example;proto=https"}
    answer = get(f"{server.url}/v2/", headers=said | {"x-forwarded-host": "evil.example"})
    assert realm(answer) == f"{server.url}/service/token"
    assert "strict-transport-security" not in answer.headers
    assert _last_client(server) == "127.0.0.1"


def test_wrong_passwords_slow_down_the_client_and_not_the_proxy(trusting: Server) -> None:
    def status(client: str) -> int:
        wrong = ("admin", f"Wrong-{secrets.token_hex(4)}")
        return get(f"{trusting.url}/service/token", auth=wrong, headers={"x-forwarded-for": client}).status_code

    guesser = "2001:db8:1:2::1"
    for _ in range(40):
        if status(guesser) == 429:
            break
    else:
        pytest.fail("the guesser is never slowed down")
    assert status("2001:DB8:1:2:0:0:0:99") == 429  # the same /64, otherwise written
    assert status("198.51.100.200") == 401


def _token(server: Server, url: str, repository: str) -> dict[str, str]:
    account = admin(server)
    answer = get(
        f"{url}/service/token",
        params={"scope": f"repository:{repository}:pull,push"},
        auth=(account.name, account.password),
    )
    return {"authorization": f"Bearer {answer.raise_for_status().json()['token']}"}


def _push(client: httpx.Client, url: str, repository: str, content: bytes) -> httpx.Response:
    """POST, PATCH and PUT, going where Location says, as a client does that knows nothing of a prefix."""
    at = httpx.URL(url)
    begun = client.post(f"/v2/{repository}/blobs/uploads/").raise_for_status()
    sent = client.patch(at.join(begun.headers["location"]), content=content).raise_for_status()
    return client.put(at.join(sent.headers["location"]), params={"digest": digest_of(content)}).raise_for_status()


def _sign_in(client: httpx.Client, url: str, form: httpx.Response, server: Server) -> httpx.Response:
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form.text)
    assert token is not None
    account = admin(server)
    return client.post(
        f"{url}/sign-in",
        headers={"origin": OUTSIDE, "referer": f"{OUTSIDE}{PREFIX}/sign-in", "cookie": _cookie(form)},
        data={"csrfmiddlewaretoken": token[1], "username": account.name, "password": account.password},
    )


def _cookie(form: httpx.Response) -> str:
    """The cookie as a browser would send it back: it is for HTTPS, which the proxy here only claims to speak."""
    return form.headers["set-cookie"].strip().partition(";")[0]


def _last_client(server: Server) -> str:
    """The client of the newest line of the access log, which is written a moment after the answer: a request of our own
    marks its place."""
    mark = secrets.token_hex(8)
    get(f"{server.url}/v2/", headers={"x-request-id": mark})
    wait_until(lambda: mark in server.log_tail(), what="the access log is written")
    lines = [line for line in server.log_tail().splitlines() if line.startswith('{"event":"access"')]
    marked = next(number for number, line in enumerate(lines) if mark in line)
    client: str = json.loads(lines[marked - 1])["client"]
    return client
