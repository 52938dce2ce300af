"""The database stops answering, or is gone: every address says so in its own form, and nothing waits for it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import pytest

from registry_core.wiring.supervisor.postgres import EmbeddedPostgres
from tests.api.routes import Route, names_in, routes
from tests.support.people import admin, create_project
from tests.support.registry import digest_of, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server
from tests.support.waiting import wait_until

REPOSITORY = "library/app"
DIGEST = f"sha256:{'ab' * 32}"
ANSWERED_WITHIN_S = 15.0
SETTLED_WITHIN_S = 10.0


class Ask(NamedTuple):
    """A request to send. `is_page`: its errors are pages."""

    method: str
    path: str
    headers: dict[str, str]
    content: bytes = b""
    is_page: bool = False


class Answered(NamedTuple):
    """What came of it; `request_id` is how the log names it."""

    ask: Ask
    response: httpx.Response
    took_s: float


@pytest.fixture(scope="module")
def postgres() -> Iterator[EmbeddedPostgres]:
    folder = Path(tempfile.mkdtemp(prefix="portolan-outage-"))
    folder.chmod(0o711)  # Postgres runs as a user of its own when the tests run as root
    with (folder / "postgres.log").open("wb") as log:
        running = EmbeddedPostgres(folder, log=log)
        yield running
        running.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def registry(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(
        data=tmp_path_factory.mktemp("outage") / "data",
        database_url=postgres.start(),
        redis_url=os.environ["PORTOLAN_REDIS_URL"],
        admin_password="Admin-of-one-test-1",
        environment={"PORTOLAN_STALE_IF_DOWN_S": "0", "PORTOLAN_WORKERS": "2"},
    )
    server.migrate()
    server.start()
    create_project(server, "other")
    yield server
    server.stop()


@contextmanager
def stopped(postgres: EmbeddedPostgres) -> Iterator[None]:
    """Every process of the server keeps its connections and says nothing."""
    server = psutil.Process(postgres.group)
    server.suspend()  # first, so that it starts no more of them
    processes = [server, *server.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


@contextmanager
def killed(postgres: EmbeddedPostgres) -> Iterator[None]:
    """No connection is left, and none can be made."""
    os.killpg(postgres.group, signal.SIGKILL)
    postgres.stop()
    try:
        yield
    finally:
        postgres.start()


Outage = Callable[[EmbeddedPostgres], Any]
outages = pytest.mark.parametrize("outage", [stopped, killed], ids=lambda outage: outage.__name__)


def of_rest(server: Server) -> Iterator[Ask]:
    with httpx.Client(base_url=server.url, auth=("admin", server.admin_password), timeout=60) as client:
        client.get("/api/v2.0/users/current").raise_for_status()
        authorization = client.build_request("GET", "/").headers.get("authorization", "")
    headers = {"authorization": authorization or _basic(server), "content-type": "application/json"}
    for route in routes():
        if route.is_rest and not route.is_not_yet:
            for method in sorted(route.methods - {"HEAD"}):
                content = b"" if method in {"GET", "DELETE"} else b"{}"
                yield Ask(method, path_of(route), headers, content)


def of_console(server: Server) -> Iterator[Ask]:
    with httpx.Client(base_url=server.url, timeout=60, follow_redirects=True) as browser:
        browser.get("/sign-in")
        form = {
            "username": "admin",
            "password": server.admin_password,
            "csrfmiddlewaretoken": browser.cookies["csrftoken"],
        }
        browser.post("/sign-in", data=form, headers={"origin": server.url}).raise_for_status()
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    for route in routes():
        if route.is_page:
            yield Ask("GET", path_of(route), {"cookie": cookies}, is_page=True)


def of_data_path(server: Server) -> Iterator[Ask]:
    headers = sign_in(server, admin(server), f"repository:{REPOSITORY}:pull,push,delete")
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        location = client.post(f"/v2/{REPOSITORY}/blobs/uploads/").headers["location"]
    upload, of = location.partition(server.url)[2] or location, f"/v2/{REPOSITORY}"
    manifest = headers | {"content-type": "application/vnd.oci.image.manifest.v1+json"}
    yield Ask("GET", "/v2/_catalog", headers)
    for reference in ("v1", DIGEST):
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            yield Ask(method, f"{of}/manifests/{reference}", manifest, b"{}" if method == "PUT" else b"")
    for method in ("GET", "HEAD", "DELETE"):
        yield Ask(method, f"{of}/blobs/{DIGEST}", headers)
    yield Ask("POST", f"{of}/blobs/uploads/", headers)
    yield Ask("POST", f"{of}/blobs/uploads/?mount={DIGEST}&from=other/app", headers)
    yield Ask("GET", upload, headers)
    yield Ask("PATCH", upload, headers, b"x" * 100)
    yield Ask("PUT", f"{upload}?digest={digest_of(b'x')}", headers, b"x")
    yield Ask("DELETE", upload, headers)
    yield Ask("GET", f"{of}/tags/list", headers)
    yield Ask("GET", f"{of}/referrers/{DIGEST}", headers)


def of_tokens(server: Server) -> Iterator[Ask]:
    basic = {"authorization": _basic(server)}
    form = {"content-type": "application/x-www-form-urlencoded"}
    password = f"grant_type=password&username=admin&password={server.admin_password}&service=harbor-registry"
    yield Ask("GET", "/service/token?scope=repository:library/zz:pull", {})
    yield Ask("GET", "/service/token?scope=repository:library/zz:pull", basic)
    yield Ask("GET", "/service/token?scope=registry:catalog:*", basic)
    yield Ask("GET", "/service/token?offline_token=true", basic)
    yield Ask("POST", "/service/token", form, password.encode())
    yield Ask("POST", "/service/token", form, b"grant_type=refresh_token&refresh_token=x&service=harbor-registry")


def _basic(server: Server) -> str:
    return str(httpx.BasicAuth("admin", server.admin_password)._auth_header)


def path_of(route: Route) -> str:
    values = {"project": "library", "repository": "app"}
    return route.at(values.get(name, "1") for name in names_in(route.address))


KINDS = pytest.mark.parametrize("kind", [of_rest, of_console, of_data_path, of_tokens], ids=lambda kind: kind.__name__)


@outages
@KINDS
def test_every_address_says_so_in_its_own_form(
    registry: Server, postgres: EmbeddedPostgres, outage: Outage, kind: Callable[[Server], Iterator[Ask]]
) -> None:
    wait_until(lambda: is_back(registry), what="the one before is over", within_s=30)
    asks, since = list(kind(registry)), registry.log_size_bytes()
    with outage(postgres):
        wait_until(lambda: is_known_to_be_away(registry), what="it is noticed", within_s=SETTLED_WITHIN_S)
        answered = [send(registry, ask) for ask in asks]
    wrong = [problem for one in answered if (problem := problem_with(one))]
    assert not wrong, "\n".join(wrong)
    refused = [one for one in answered if one.response.status_code == 503]
    assert len(refused) > 0.7 * len(answered) > 2
    wanted = {one.response.headers["x-request-id"] for one in answered}
    wait_until(lambda: wanted <= logged_ids(log_of(registry, since)), what="each has its line in the log")
    assert "Traceback" not in log_of(registry, since)
    wait_until(lambda: is_back(registry), what="all is served again", within_s=30)


@outages
def test_who_asked_before_it_was_noticed_waits_no_longer_than_the_others(
    registry: Server, postgres: EmbeddedPostgres, outage: Outage
) -> None:
    """More at once than there are threads and connections, of every kind, in the moment in which it goes away."""
    asks = [ask for kind in (of_rest, of_console, of_data_path, of_tokens) for ask in kind(registry)][::3]
    with ThreadPoolExecutor(len(asks)) as pool, outage(postgres):
        answered = list(pool.map(lambda ask: send(registry, ask), asks))
    slow = [
        f"{one.ask.method} {one.ask.path}: {one.took_s:.1f} s" for one in answered if one.took_s > ANSWERED_WITHIN_S
    ]
    assert not slow, "\n".join(slow)
    wrong = [f"{one.ask.path}: {one.response.status_code}" for one in answered if one.response.status_code == 500]
    assert not wrong, "\n".join(wrong)
    wait_until(lambda: is_back(registry), what="all is served again", within_s=30)


@outages
def test_pushes_and_pulls_go_on_afterwards(registry: Server, postgres: EmbeddedPostgres, outage: Outage) -> None:
    with outage(postgres):
        wait_until(lambda: is_known_to_be_away(registry), what="it is noticed", within_s=SETTLED_WITHIN_S)
    wait_until(lambda: is_back(registry), what="all is served again", within_s=30)
    headers = sign_in(registry, admin(registry), f"repository:{REPOSITORY}:pull,push")
    image = make_image(layer_bytes=700)
    with httpx.Client(base_url=registry.url, headers=headers, timeout=60) as client:
        for blob in image.blobs:
            push_blob(client, REPOSITORY, blob)
        put_manifest(client, REPOSITORY, "v1", image)
        assert client.get(f"/v2/{REPOSITORY}/manifests/v1").content == image.manifest


def send(server: Server, ask: Ask) -> Answered:
    began = time.monotonic()
    with httpx.Client(base_url=server.url, timeout=120) as client:
        response = client.request(ask.method, ask.path, headers=ask.headers, content=ask.content or None)
    return Answered(ask, response, time.monotonic() - began)


def problem_with(one: Answered) -> str:
    """What is wrong with an answer while there is no database; empty when nothing is."""
    where = f"{one.ask.method} {one.ask.path} {one.response.status_code}"
    status = one.response.status_code
    if status < 500:
        return ""  # what is wrong with the request itself, and what needs no database
    if status != 503:
        return f"{where}: {one.response.text[:200]}"
    if not one.response.headers.get("retry-after", "").isdecimal():
        return f"{where}: no Retry-After"
    if one.ask.is_page:
        return "" if "<html" in one.response.text else f"{where}: not a page"
    if one.ask.method == "HEAD":
        return ""
    try:
        (error,) = one.response.json()["errors"]
        return "" if error["code"] and "database" in error["message"] else f"{where}: {error}"
    except (ValueError, KeyError, TypeError):
        return f"{where}: not an error in JSON: {one.response.text[:200]}"


def is_known_to_be_away(server: Server) -> bool:
    """Whether the worker that answers refuses at once."""
    began = time.monotonic()
    answer = httpx.get(f"{server.url}/v2/_catalog", timeout=60, headers={"authorization": _basic(server)})
    return answer.status_code == 503 and time.monotonic() - began < 0.5


def is_back(server: Server) -> bool:
    """Whether all is served again; each request comes on a connection of its own, and so to any of the workers."""
    paths = ("/api/v2.0/projects", "/service/token?scope=repository:library/app:pull", "/v2/library/app/tags/list")
    auth = ("admin", server.admin_password)
    asked = [httpx.get(f"{server.url}{path}", auth=auth, timeout=60) for path in paths for _ in range(4)]
    return all(answer.status_code in {200, 404} for answer in asked)


def log_of(server: Server, since: int) -> str:
    with server.log_path.open("rb") as log:
        log.seek(since)
        return log.read().decode(errors="replace")


def logged_ids(log: str) -> set[str]:
    lines = [line for line in log.splitlines() if line.startswith('{"event":"access"') and line.endswith("}")]
    return {json.loads(line)["request_id"] for line in lines}
