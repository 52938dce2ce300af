"""Content and requests that were made to hurt: whoever asks for them gets a clear answer, and nobody else feels it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import psutil
import pytest

from tests.conftest import ServerFactory
from tests.distribution.client import Client, descriptor
from tests.support.hostile_archives import HOSTILE_ARCHIVES, HOSTILE_YAML, entry
from tests.support.quotas import make_project, pusher
from tests.support.server import Server
from tests.support.waiting import wait_until

MIB = 1 << 20
CHILD = "registry_core.sandbox.child"
CHART_CONFIG = "application/vnd.cncf.helm.config.v1+json"
CHART_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
ATTACKERS = 8
ATTACK_S = 10.0
PATIENCE_S = 2.0  # of those who are not attacked, on a machine that is busy with the attack
ANSWERS = {200, 412, 429, 503}
CONNECTIONS = 24
CHARTS: dict[str, dict[str, bytes]] = {
    "values.yaml": {
        name: HOSTILE_ARCHIVES[name]
        for name in ("a pax header of digits", "four million short records", "a million files", "a file of zeros",
                     "a million empty members")
        if name in HOSTILE_ARCHIVES
    },
    "dependencies": {
        name: entry(b"chart/Chart.yaml", HOSTILE_YAML[name])
        for name in ("flow pairs", "a number of base 60 of 400 KB", "anchors")
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def registry(start_server: ServerFactory) -> Server:
    return start_server(PORTOLAN_WORKERS="2")


@pytest.fixture
def client(registry: Server, unique: str) -> Iterator[Client]:
    make_project(registry, unique, -1)
    connected = pusher(registry, f"{unique}/app")
    yield connected
    connected.http.close()


def push_chart(client: Client, tag: str, layer: bytes) -> None:
    config = b'{"name":"chart"}'
    for content in (config, layer):
        assert client.push_blob(content).status_code == 201
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor(config, CHART_CONFIG),
        "layers": [descriptor(layer, CHART_LAYER)],
    }
    assert client.put_manifest(json.dumps(manifest).encode(), tag).status_code == 201


def addition(client: Client, unique: str, tag: str, name: str) -> httpx.Response:
    return client.http.get(f"/api/v2.0/projects/{unique}/repositories/app/artifacts/{tag}/additions/{name}", timeout=60)


def memory_bytes(pids: list[int]) -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in pids)


def sandboxes(registry: Server) -> list[psutil.Process]:
    found = []
    for pid in registry.pids():
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            found += [process] if CHILD in " ".join(process.cmdline()) else []
    return found


def test_hostile_charts_keep_nobody_waiting_and_take_no_memory_of_those_who_serve(
    registry: Server, client: Client, unique: str
) -> None:
    asked = []
    for name, layers in CHARTS.items():
        for number, layer in enumerate(layers.values()):
            tag = f"{name.partition('.')[0]}-{number}"
            push_chart(client, tag, layer)
            asked.append((tag, name))
    push_chart(client, "good", entry(b"chart/values.yaml", b"a: 1\n"))
    assert addition(client, unique, "good", "values.yaml").text == "a: 1\n"
    for _ in range(CONNECTIONS):  # each may come to a worker that has not checked the password yet, which takes 100 MiB
        httpx.get(f"{registry.url}/api/v2.0/users/current", auth=client.http.auth, timeout=60).raise_for_status()
    workers = registry.pids()
    before = memory_bytes(workers)
    until_s = time.monotonic() + ATTACK_S
    peak, most = before, 0

    def attack(number: int) -> set[int]:
        statuses = set()
        while time.monotonic() < until_s:
            statuses.add(addition(client, unique, *asked[number % len(asked)]).status_code)
            number += 1
        return statuses

    with ThreadPoolExecutor(ATTACKERS) as pool:
        attacks = [pool.submit(attack, number) for number in range(ATTACKERS)]
        waited = []
        while time.monotonic() < until_s:
            begin_s = time.monotonic()
            assert client.http.get("/v2/").status_code == 200
            waited.append(time.monotonic() - begin_s)
            peak, most = max(peak, memory_bytes(workers)), max(most, len(sandboxes(registry)))
        answers = set().union(*(each.result() for each in attacks))
    waited.sort()
    print(f"GET /v2/: p50 {waited[len(waited) // 2]:.3f} s, p99 {waited[len(waited) * 99 // 100]:.3f} s")
    print(f"workers: {before / MIB:.0f} MiB before, {peak / MIB:.0f} MiB at the most; {most} sandboxes at once")
    assert answers <= ANSWERS
    assert waited[len(waited) * 99 // 100] < PATIENCE_S
    assert peak - before < 64 * MIB
    assert 0 < most <= 2
    wait_until(lambda: not sandboxes(registry), what="no sandbox is left")
    answer = addition(client, unique, "good", "values.yaml")
    assert (answer.status_code, answer.text) == (200, "a: 1\n")


@pytest.mark.parametrize("name", ["a pax header of digits", "zstd", "cut gzip", "a million files"])
def test_a_hostile_chart_is_refused_with_the_reason(client: Client, unique: str, name: str) -> None:
    push_chart(client, "v1", HOSTILE_ARCHIVES[name])
    answer = addition(client, unique, "v1", "values.yaml")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (412, "PRECONDITION")
    assert len(answer.json()["errors"][0]["message"]) > 10


@pytest.mark.parametrize("name", ["empty lists", "members"])
def test_a_manifest_or_body_of_a_million_values_is_refused_at_once(client: Client, name: str) -> None:
    values = b"[]," * 300_000 if name == "empty lists" else b"0," * 300_000
    content = b'{"schemaVersion":2,"x":[' + values + b"0]}"
    begin_s = time.monotonic()
    answers = [client.put_manifest(content, "v1"), client.http.post("/api/v2.0/projects", content=content)]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert "more than" in answers[0].json()["errors"][0]["message"]
    assert time.monotonic() - begin_s < PATIENCE_S


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("content-type", 'text/plain;"' + ";" * 60_000, 431),
        ("cookie", 'sid="' + "\\" * 60_000 + '"', 431),
        ("cookie", 'sid="' + "\\" * 8_000 + '"', 200),
        ("cookie", 'other="\\054x"; sid=none', 200),
        ("accept", "a/b," * 10_000, 431),
        ("accept", "a/b," * 1_900, 200),
    ],
)
@pytest.mark.parametrize("path", ["/api/v2.0/ping", "/sign-in"])
def test_a_header_that_takes_long_to_parse_is_refused_at_once(
    registry: Server, path: str, header: str, value: str, status: int
) -> None:
    begin_s = time.monotonic()
    answer = httpx.get(registry.url + path, headers={header: value}, timeout=60)
    assert answer.status_code == status
    assert time.monotonic() - begin_s < PATIENCE_S


def test_a_cookie_with_escapes_does_not_take_ours_away(registry: Server) -> None:
    """Another application on the same host may have set it."""
    with httpx.Client(base_url=registry.url, headers={"x-csrf": "1"}) as browser:
        page = browser.get("/sign-in")
        assert page.status_code == 200
        token = browser.cookies.get("csrftoken", "")
        cookies = f'other="\\054"; csrftoken={token}'
        answer = browser.post(
            "/sign-in",
            headers={"cookie": cookies, "origin": registry.url},
            data={"csrfmiddlewaretoken": token, "username": "nobody", "password": "wrong"},
        )
    assert answer.status_code != 403
