"""Whatever many clients do at once and whoever is killed meanwhile, a project is charged for what it has."""

from __future__ import annotations

import contextlib
import random
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest

from registry_core.content.parsing import OCI_INDEX
from tests.conftest import ServerFactory
from tests.distribution.client import EMPTY_CONFIG, Client, digest_of, image, index
from tests.support.extent import IS_FULL
from tests.support.quotas import audit, make_project, pusher, used_bytes
from tests.support.server import Server
from tests.support.waiting import wait_until

MIB = 1 << 20
CLIENTS = 8
STEPS = 40
KILLS = 10 if IS_FULL else 2
EXPIRE = """
from registry_core.storage import staged_bytes
staged_bytes._CHANGING_S = -1
from django.db import connection
connection.cursor().execute("UPDATE content_upload SET updated_at = now() - interval '2 days'")
uploads.sweep_uploads(ttl_s=0)
"""
BLOBS = [bytes([number]) * size for number, size in enumerate((1_000, 40_000, 300_000, 700_000, 1_500_000))]


@pytest.fixture(scope="module")
def registry(start_server: ServerFactory) -> Server:
    return start_server(PORTOLAN_WORKERS="2")


class Random:
    """A client that does anything that clients do."""

    def __init__(self, client: Client, repositories: list[str], seed: int) -> None:
        self.client = client
        self.repositories = repositories
        self.random = random.Random(seed)
        self.manifests: list[bytes] = []

    def step(self) -> None:
        self.client.repository = self.random.choice(self.repositories)
        self.random.choice([self.push, self.push, self.begin, self.mount, self.put, self.put, self.delete])()

    def push(self) -> None:
        self.client.push_blob(self.random.choice([*BLOBS, secrets.token_bytes(20_000)]))

    def begin(self) -> None:
        where = self.client.start_upload().headers.get("location", "")
        content = b""
        for _ in range(self.random.randint(1, 3)):
            piece = secrets.token_bytes(self.random.choice([10, 1_000, 200_000, 600_000]))
            if self.client.http.patch(where, content=piece).status_code != 202:
                return
            content += piece
        end = self.random.randint(0, 3)
        if end == 0:
            self.client.http.delete(where)
        elif end == 1:
            self.client.http.put(where, params={"digest": digest_of(content)})
        elif end == 2:
            self.client.http.put(where, params={"digest": digest_of(content + b"x")})

    def mount(self) -> None:
        source = self.random.choice(self.repositories)
        self.client.start_upload(mount=digest_of(self.random.choice(BLOBS)), **{"from": source})

    def put(self) -> None:
        self.client.push_blob(EMPTY_CONFIG)
        manifest = self.random.choice([*self.manifests[-3:], image(annotations={"x": "y" * 50_000})])
        self.manifests.append(manifest)
        self.client.put_manifest(manifest, self.random.choice(["", "v1", "v2"]))

    def delete(self) -> None:
        of = [f"blobs/{digest_of(self.random.choice(BLOBS))}"]
        of += [f"manifests/{digest_of(manifest)}" for manifest in self.manifests[-3:]]
        self.client.delete(self.random.choice(of))


@pytest.fixture
def workload(registry: Server, unique: str) -> Iterator[tuple[int, list[Random]]]:
    project = make_project(registry, unique, 8 * MIB)
    repositories = [f"{unique}/{name}" for name in "abc"]
    found = [Random(pusher(registry, repositories[0]), repositories, seed) for seed in range(CLIENTS)]
    yield project, found
    for each in found:
        each.client.http.close()


def test_many_clients_at_once_leave_no_drift(registry: Server, workload: tuple[int, list[Random]]) -> None:
    project, clients = workload

    def run(client: Random) -> None:
        for _ in range(STEPS):
            client.step()

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(run, clients))
    found = audit(registry, project)
    assert found.is_exact, found.found
    assert found.charged_bytes <= 8 * MIB
    assert used_bytes(registry, project) <= 8 * MIB
    expired = audit(registry, project, before=EXPIRE)
    assert expired.is_exact, expired.found
    assert expired.found["reserved_bytes"] == expired.leased_bytes == 0


def test_killed_in_the_middle_of_anything_no_drift_is_left(
    registry: Server, workload: tuple[int, list[Random]]
) -> None:
    project, clients = workload
    is_over = threading.Event()

    def run(client: Random) -> None:
        while not is_over.is_set():
            with contextlib.suppress(httpx.TransportError, KeyError):
                client.step()

    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(run, client) for client in clients]
        try:
            for _ in range(KILLS):
                done = sum(len(client.manifests) for client in clients)
                wait_until(
                    lambda done=done: sum(len(client.manifests) for client in clients) > done + 10,  # type: ignore[misc]
                    what="the clients are at work",
                    within_s=60,
                )
                registry.kill()
                registry.start()
                found = audit(registry, project)
                assert found.found["wrong_links"] == 0
        finally:
            is_over.set()
        for each in running:
            each.result()
    found = audit(registry, project)
    assert found.is_exact, found.found
    assert found.charged_bytes <= 8 * MIB
    expired = audit(registry, project, before=EXPIRE)
    assert expired.is_exact, expired.found
    assert expired.found["reserved_bytes"] == expired.leased_bytes == 0
    assert used_bytes(registry, project) == expired.charged_bytes


@pytest.mark.parametrize("what", ["blob", "manifest"])
def test_two_deletions_of_the_last_links_at_the_same_time_free_the_bytes(
    registry: Server, unique: str, what: str
) -> None:
    """Both have counted the links before either has taken its own away."""
    project = make_project(registry, unique, -1)
    first, second = (pusher(registry, f"{unique}/{name}") for name in "ab")
    manifest = index(annotations={"nonce": unique})
    for client in (first, second):
        if what == "blob":
            assert client.push_blob(EMPTY_CONFIG).status_code == 201
        else:
            assert client.put_manifest(manifest, content_type=OCI_INDEX).status_code == 201
    path = f"blobs/{digest_of(EMPTY_CONFIG)}" if what == "blob" else f"manifests/{digest_of(manifest)}"
    table = f"content_project{what}"
    with psycopg.connect(registry.database_url) as connection, ThreadPoolExecutor(2) as pool:
        connection.execute(f"SELECT FROM {table} WHERE project_id = %s FOR UPDATE", [project])
        deleting = [pool.submit(client.delete, path) for client in (first, second)]
        with psycopg.connect(registry.database_url, autocommit=True) as other:
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
            wait_until(lambda: other.execute(waiting, [f"%{table}%"]).fetchone() == (2,), what="both deletions wait")
        connection.commit()
        assert [each.result().status_code for each in deleting] == [202, 202]
    assert used_bytes(registry, project) == 0
    assert audit(registry, project).is_exact
    for client in (first, second):
        client.http.close()
