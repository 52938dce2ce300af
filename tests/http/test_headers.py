"""Every response leaves with the headers of its class, wherever it was made and whatever it says."""

from __future__ import annotations

import re
import secrets
import socket
from collections.abc import Iterator

import httpx
import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from registry_core.distribution.router import ROUTES
from registry_core.http.bodies import AT_ONCE_BYTES
from registry_core.wiring.supervisor.ports import free_port
from tests.conftest import ServerFactory
from tests.http.raw import Answer, chunked, head, read_answer, talk
from tests.support.people import admin, create_project
from tests.support.registry import MANIFEST_TYPE, digest_of, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server

INERT = "default-src 'none'; sandbox; frame-ancestors 'none'"
FILE = "/static/frontend/tokens.css"
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE")
FOR_BROWSERS = {
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
Headers = dict[str, str]


def check(path: str, headers: Headers) -> None:
    """That the headers are those of the class of `path`; written from what browsers need, not from the code."""
    assert headers["x-content-type-options"] == "nosniff", path
    assert headers["x-request-id"], path
    policy = headers["content-security-policy"]
    is_data = path.startswith(("/v2", "/service/token"))
    if is_data or (path.startswith(("/api/", "/c/")) and path != "/api/docs"):
        assert policy == INERT, path
    else:
        assert "script-src 'self';" in policy, path
        assert "default-src 'none'" in policy, path
        assert "frame-ancestors 'none'" in policy, path
        assert "unsafe" not in policy, path
    if not is_data:
        assert FOR_BROWSERS.items() <= headers.items(), path
    if path == "/v2" or path.startswith("/v2/"):
        assert headers["docker-distribution-api-version"] == "registry/2.0", path
    assert "strict-transport-security" not in headers, path


def ask(client: httpx.Client, method: str, path: str, status: int | None = None, **more: object) -> httpx.Response:
    answer = client.request(method, path, **more)  # type: ignore[arg-type]
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"], path
    assert len(answer.headers.get_list("content-security-policy")) == 1, path
    check(path.partition("?")[0], dict(answer.headers))
    assert status in {None, answer.status_code}, (path, answer.status_code, answer.text)
    return answer


@pytest.fixture(scope="module")
def nobody(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


# --- the OCI endpoint ------------------------------------------------------------------------------------------------


def example_of(pattern: re.Pattern[str]) -> str:
    """A path that a route answers. A route of a new form must be told here."""
    path = pattern.pattern.replace("(.+)", "nosuch/repository").removesuffix("/?")
    return path.replace("([^/]*)", "latest").replace("([^/]+)", secrets.token_hex(8))


def test_each_method_of_each_oci_route(server: Server, nobody: httpx.Client) -> None:
    known = {"authorization": sign_in(server, admin(server), "repository:nosuch/repository:pull,push")["authorization"]}
    for route in ROUTES:
        path = example_of(route.pattern)
        assert route.pattern.fullmatch(path), path
        for method in METHODS:
            for headers in ({}, known):
                ask(nobody, method, path, headers=headers)


@pytest.mark.parametrize(
    "path", ["/v2", "/v2/", "/v2/x", "/v2/%00", "/v2/a/b/manifests/" + "x" * 500, "/v2//manifests/x"]
)
def test_what_is_no_route_of_the_oci_endpoint(nobody: httpx.Client, path: str) -> None:
    for method in METHODS:
        ask(nobody, method, path)


def test_pulls_from_memory_and_from_files(server: Server, nobody: httpx.Client, unique: str) -> None:
    create_project(server, unique, is_public=True)
    repository = f"{unique}/app"
    image = make_image(layer_bytes=100_000)
    headers = sign_in(server, admin(server), f"repository:{repository}:pull,push")
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        for content in image.blobs:
            push_blob(client, repository, content)
        put_manifest(client, repository, "latest", image)
    blob = f"/v2/{repository}/blobs/{digest_of(image.blobs[1])}"
    for path in (f"/v2/{repository}/manifests/latest", f"/v2/{repository}/manifests/{image.digest}", blob):
        for method in ("GET", "HEAD") * 3:  # from the second on from memory
            ask(nobody, method, path, 200)
        ask(nobody, "GET", path, 200, headers={"x-request-id": "mine"})
        ask(nobody, "GET", path, 304, headers={"if-none-match": "*"})
    ask(nobody, "GET", blob, 206, headers={"range": "bytes=0-9"})
    ask(nobody, "GET", blob, 206, headers={"range": "bytes=0-9,20-29"})
    ask(nobody, "GET", blob, 416, headers={"range": "bytes=200000-"})
    ask(nobody, "GET", f"/v2/{repository}/tags/list", 200)
    ask(nobody, "GET", f"/v2/{repository}/referrers/{image.digest}", 200)


def test_what_was_pushed_as_a_page_is_none(server: Server, nobody: httpx.Client, unique: str) -> None:
    """Whatever type a manifest is kept under, a browser that opens it runs nothing."""
    create_project(server, unique, is_public=True)
    headers = sign_in(server, admin(server), f"repository:{unique}/x:pull,push")
    content = b'{"schemaVersion":2,"mediaType":"application/vnd.example+json","x":"<script>alert(1)</script>"}'
    path = f"/v2/{unique}/x/manifests/latest"
    for media_type in (MANIFEST_TYPE, "application/vnd.example+json", "text/html", "image/svg+xml"):
        ask(nobody, "PUT", path, headers=headers | {"content-type": media_type}, content=content)
        for _ in range(3):
            ask(nobody, "GET", path)


# --- tokens ----------------------------------------------------------------------------------------------------------


def test_tokens_and_their_refusals(server: Server, nobody: httpx.Client) -> None:
    account = admin(server)
    ask(nobody, "GET", "/service/token?service=harbor-registry", 200, auth=(account.name, account.password))
    ask(nobody, "GET", "/service/token?service=harbor-registry", 401, auth=("nobody", "wrong"))
    ask(nobody, "GET", "/service/token?service=other", 400)
    ask(nobody, "POST", "/service/token", 400, data={"grant_type": "x"})
    ask(nobody, "POST", "/service/token", 413, content=b"x" * 70_000)
    for method in METHODS:
        ask(nobody, method, "/service/token")


# --- REST, console, files --------------------------------------------------------------------------------------------


def django_paths(patterns: list[URLPattern | URLResolver], prefix: str = "") -> Iterator[str]:
    """A path for every pattern of the URL map."""
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from django_paths(pattern.url_patterns, route)
        else:
            route = route.replace("^.*$", "no/such/address").replace("<int:", "<1:").replace("<", "x<")
            yield "/" + re.sub(r"x<1:[^>]*>", "1", re.sub(r"x<(?!1:)[^>]*>", "x", route))


PATHS = sorted(set(django_paths(get_resolver().url_patterns)))


def test_each_address_of_django(nobody: httpx.Client) -> None:
    assert len(PATHS) > 100
    for path in PATHS:
        assert not re.search(r"[<>^$]", path), path
        for method in ("GET", "HEAD", "OPTIONS", "POST"):
            ask(nobody, method, path)


def test_addresses_of_django_for_somebody_who_is_known(server: Server) -> None:
    account = admin(server)
    with httpx.Client(base_url=server.url, timeout=60, auth=(account.name, account.password)) as client:
        for path in PATHS:
            if not path.startswith("/c/"):
                ask(client, "GET", path)


@pytest.mark.parametrize(
    "path",
    [FILE, "/static/none", "/no/such/page", "/api/v2.0/none", "/api", "/api/docs", "/c/none"],
)
def test_files_and_what_is_not_there(nobody: httpx.Client, path: str) -> None:
    for method in METHODS:
        ask(nobody, method, path)


def test_large_bodies_and_failures(server: Server, nobody: httpx.Client) -> None:
    ask(nobody, "POST", "/api/v2.0/users", 413, content=b"x" * (1 << 20))
    account = admin(server)
    ask(nobody, "POST", "/api/v2.0/users", 413, auth=(account.name, account.password), content=bytes(11 << 20))
    ask(nobody, "POST", "/sign-in", 413, content=b"x" * 100_000)


# --- what no handler sees --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v2/", "/service/token", "/api/v2.0/ping", "/projects", FILE])
@pytest.mark.parametrize("lines", [{"Host": "a b"}, {"Host": ""}, {"Host": 'x",service="y'}])
def test_requests_without_a_valid_host(server: Server, path: str, lines: Headers) -> None:
    answer = talk(server, [head(server, "GET", path, lines)])
    assert answer.status == 400
    check(path, answer.headers)


@pytest.mark.parametrize("path", ["/v2/a/b/manifests/x", "/service/token", "/api/v2.0/users", "/sign-in"])
def test_bodies_that_broke_off(server: Server, path: str) -> None:
    for size, body in ((2 * AT_ONCE_BYTES, b"x"), (10, b"x")):
        answer = talk(server, [head(server, "POST", path, {"Content-Length": str(size)}) + body], is_cut=True)
        if answer.status:
            check(path, answer.headers)
    sent = head(server, "POST", path, {"Transfer-Encoding": "chunked"}) + chunked(b"hello")[:-3]
    answer = talk(server, [sent], is_cut=True)
    if answer.status:
        assert answer.status >= 400
        check(path, answer.headers)


# --- HTTPS, and plain HTTP beside it ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure(start_server: ServerFactory) -> Server:
    return start_server(
        PORTOLAN_HOSTNAME="localhost, registry.example", PORTOLAN_EXTERNAL_URL="", PORTOLAN_HTTP_PORT=str(free_port())
    )


PLAIN = ["/", "/projects?x=1", "/v2/", "/service/token", "/api/v2.0/ping", "/static/x"]


@pytest.mark.parametrize("path", PLAIN)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_plain_port(secure: Server, path: str, method: str) -> None:
    answer = plain(secure, head(secure, method, path))
    assert answer.status in {308, 400}
    check(path.partition("?")[0], answer.headers)
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "registry.example.evil.example"])
def test_the_plain_port_leads_to_configured_names_only(secure: Server, host: str) -> None:
    answer = plain(secure, head(secure, "GET", "/projects", {"Host": host}))
    assert answer.headers["location"] == f"https://localhost:{secure.port}/projects"
    told = plain(secure, head(secure, "GET", "/v2/", {"Host": host}))
    assert b"evil" not in told.body
    known = plain(secure, head(secure, "GET", "/projects", {"Host": "Registry.example:80"}))
    assert known.headers["location"] == f"https://registry.example:{secure.port}/projects"


@pytest.mark.parametrize("lines", [{"Host": ""}, {"Host": "a b"}, {"Host": "a\r\nHost: b"}])
def test_the_plain_port_refuses_what_is_no_host(secure: Server, lines: Headers) -> None:
    answer = plain(secure, head(secure, "GET", "/projects", lines))
    assert answer.status == 400
    assert "location" not in answer.headers
    check("/projects", answer.headers)


def plain(server: Server, request: bytes) -> Answer:
    address = ("127.0.0.1", int(server.environment["PORTOLAN_HTTP_PORT"]))
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall(request)
        return read_answer(connection, method=request.split(b" ")[0].decode())


def test_https_by_a_name_is_to_be_kept_to(secure: Server) -> None:
    with httpx.Client(base_url=secure.url, verify=False) as client:  # noqa: S501
        for path in ("/v2/", "/service/token", "/api/v2.0/ping", "/sign-in", FILE, "/none"):
            by_name = client.get(path, headers={"host": f"registry.example:{secure.port}"})
            assert by_name.headers["strict-transport-security"].startswith("max-age="), path
            assert "strict-transport-security" not in client.get(path).headers, path
