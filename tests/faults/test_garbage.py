"""Garbage collection beside pushes and deletes, killed at any moment: nothing that was acknowledged is lost, and in the
end the store has what the database says."""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import pytest

from tests.conftest import ServerFactory
from tests.distribution.client import Client, digest_of
from tests.faults.test_sweep import storage
from tests.support.people import admin, create_project
from tests.support.server import PORTOLAN, Server

IS_FULL = os.environ.get("TEST_FULL") == "1"
ROUNDS = 200 if IS_FULL else 8
PUSHERS = 3
LAYERS = tuple(secrets.token_bytes(2000 + number) for number in range(6))
AT_ONCE = {"PORTOLAN_GC_GRACE_S": "0", "PORTOLAN_DELETED_RETENTION_DAYS": "0"}


def portolan(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the server's data."""
    command = [str(PORTOLAN), *arguments]
    return subprocess.run(command, env=server.environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def hasty(start_server: ServerFactory, unique: str) -> Iterator[tuple[Server, Client]]:
    """A server that keeps nothing that was deleted, and its administrator in a project of its own."""
    server = start_server(**AT_ONCE)
    create_project(server, unique)
    client = Client(server.url, admin(server), repository=f"{unique}/app")
    yield server, client
    client.http.close()


def objects_bytes(server: Server) -> int:
    folders = (server.data / "objects").glob("[0-9a-f][0-9a-f]/*")
    return sum(path.stat().st_size for path in folders)


def test_what_is_deleted_leaves_the_disk_and_the_database(hasty: tuple[Server, Client]) -> None:
    server, client = hasty
    manifest = client.push_image(LAYERS[0], tag="gone")
    client.push_image(LAYERS[1], tag="kept")
    before = objects_bytes(server)
    assert client.delete(f"manifests/{digest_of(manifest)}").status_code == 202
    dry = portolan(server, "gc", "--dry-run")
    assert (dry.returncode, f"would remove the blob {digest_of(LAYERS[0])}" in dry.stdout) == (0, True)
    assert objects_bytes(server) == before

    done = portolan(server, "gc")
    assert (done.returncode, f"freed {len(LAYERS[0])} bytes" in done.stdout) == (0, True), done
    assert objects_bytes(server) == before - len(LAYERS[0])
    assert client.get(f"blobs/{digest_of(LAYERS[1])}").content == LAYERS[1]
    health = storage(server, "health")
    assert (health.returncode, "difference: 0 bytes" in health.stdout) == (0, True), health
    assert storage(server, "check").returncode == 0


def test_deleted_content_is_listed_restored_and_purged_by_command(start_server: ServerFactory, unique: str) -> None:
    server = start_server()
    create_project(server, unique)
    client = Client(server.url, admin(server), repository=f"{unique}/app")
    digest = digest_of(client.push_image(LAYERS[0], tag="v1"))
    client.delete(f"manifests/{digest}")
    (line,) = portolan(server, "trash", "list", unique).stdout.splitlines()
    assert f"{unique}/app@{digest}" in line
    number = line.split()[0]
    restored = portolan(server, "trash", "restore", number)
    assert (restored.returncode, "1 artifacts, tags v1" in restored.stdout) == (0, True), restored
    assert client.get("manifests/v1").status_code == 200
    again = portolan(server, "trash", "restore", number)
    assert (again.returncode, "cannot be restored" in again.stderr) == (1, True)

    client.delete(f"manifests/{digest}")
    number = portolan(server, "trash", "list").stdout.split()[0]
    assert portolan(server, "trash", "purge", number).returncode == 1  # nobody said yes
    purged = portolan(server, "trash", "purge", number, "--yes")
    assert (purged.returncode, "removed 1 artifacts" in purged.stdout) == (0, True), purged
    assert portolan(server, "trash", "list").stdout == ""
    assert storage(server, "check").returncode == 0
    client.http.close()


@dataclass
class Traffic:
    """Pushes and deletes of images with common layers, each pusher in a repository of its own."""

    server: Server
    client: Client
    over: threading.Event = field(default_factory=threading.Event)
    pushed: int = 0

    def run(self, number: int) -> dict[str, tuple[int, ...]]:
        """Push, pull and delete until it is over; what was pushed and not deleted, with its layers."""
        chance, living = random.Random(number), dict[str, tuple[int, ...]]()
        on = f"{self.client.repository}-{number}"
        client = Client(self.server.url, admin(self.server), repository=on)
        try:
            while not self.over.is_set():
                self._push(client, chance, living)
                if len(living) > 2:
                    digest = chance.choice(list(living))
                    del living[digest]
                    assert client.delete(f"manifests/{digest}").status_code == 202
        finally:
            client.http.close()
        return {f"{on} {digest}": layers for digest, layers in living.items()}

    def _push(self, client: Client, chance: random.Random, living: dict[str, tuple[int, ...]]) -> None:
        layers = tuple(sorted(chance.sample(range(len(LAYERS)), 2)))
        manifest = client.push_image(*(LAYERS[layer] for layer in layers), annotations={"n": secrets.token_hex(4)})
        digest = digest_of(manifest)
        living[digest] = layers
        self.pushed += 1
        self.check(client, digest, layers)

    @staticmethod
    def check(client: Client, digest: str, layers: tuple[int, ...], on: str | None = None) -> None:
        """The image can be pulled, every byte of it."""
        assert client.get(f"manifests/{digest}", on=on).status_code == 200
        for layer in layers:
            assert client.get(f"blobs/{digest_of(LAYERS[layer])}", on=on).content == LAYERS[layer]


@pytest.mark.slow
def test_garbage_collection_killed_at_any_moment_loses_nothing_and_leaves_nothing(
    hasty: tuple[Server, Client],
) -> None:
    server, client = hasty
    traffic, chance = Traffic(server, client), random.Random()
    with ThreadPoolExecutor(PUSHERS) as pool:
        pushers = [pool.submit(traffic.run, number) for number in range(PUSHERS)]
        try:
            for _ in range(ROUNDS):
                _collect_and_kill(server, chance)
        finally:
            traffic.over.set()
        living = {name: layers for pusher in pushers for name, layers in pusher.result().items()}
    assert traffic.pushed > PUSHERS
    for _ in range(2):
        done = portolan(server, "gc")
        assert done.returncode == 0, done
    for name, layers in living.items():
        repository, _, digest = name.partition(" ")
        traffic.check(client, digest, layers, on=repository)
    health = storage(server, "health")
    assert (health.returncode, "garbage: 0 candidates" in health.stdout) == (0, True), health
    kept = {layer for layers in living.values() for layer in layers}
    assert objects_bytes(server) == sum(len(LAYERS[layer]) for layer in kept) + _configs_bytes(server)


def _collect_and_kill(server: Server, chance: random.Random) -> None:
    """Run a collection, and kill it at some moment; or let it end."""
    with subprocess.Popen(
        [str(PORTOLAN), "gc", "--workers=2"],
        env=server.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            process.wait(chance.uniform(0.8, 2.5))  # the moment is what is random
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)


def _configs_bytes(server: Server) -> int:
    """The bytes of the blobs that are no layers: the config that all images share."""
    known = ",".join(f"'{digest_of(layer)}'" for layer in LAYERS)
    return int(
        server.manage(
            "from registry_core.content.models import Blob\nfrom registry_core.digests import Digest\n"
            f"layers = [Digest.parse(text).raw for text in ({known})]\n"
            "print(sum(Blob.objects.exclude(digest__in=layers).values_list('size_bytes', flat=True)))"
        )
    )


def test_a_client_that_is_told_of_a_blob_can_use_it_though_it_was_about_to_go(hasty: tuple[Server, Client]) -> None:
    """HEAD, then garbage collection, then the manifest."""
    server, client = hasty
    assert client.push_blob(LAYERS[2]).status_code == 201
    server.manage(
        "from django.db import connection\n"
        "connection.cursor().execute(\"UPDATE content_repositoryblob SET created_at = now() - interval '2 days', "
        "grace_until = now() - interval '1 second'\")"
    )
    assert client.head(f"blobs/{digest_of(LAYERS[2])}").status_code == 200
    assert portolan(server, "gc").returncode == 0
    assert client.get(f"blobs/{digest_of(LAYERS[2])}").content == LAYERS[2]


def test_an_unused_blob_that_nobody_asked_for_is_gone_for_every_process(hasty: tuple[Server, Client]) -> None:
    server, client = hasty
    digest = digest_of(LAYERS[3])
    assert client.push_blob(LAYERS[3]).status_code == 201
    for _ in range(5):
        assert client.get(f"blobs/{digest}").status_code == 200
    server.manage(
        "from django.db import connection\n"
        "connection.cursor().execute(\"UPDATE content_repositoryblob SET created_at = now() - interval '2 days', "
        "grace_until = now() - interval '1 second'\")"
    )
    done = portolan(server, "gc")
    assert (done.returncode, "links 1" in done.stdout) == (0, True), done
    for _ in range(5):
        answer: httpx.Response = client.head(f"blobs/{digest}")
        assert answer.status_code == 404
    assert objects_bytes(server) == 0
