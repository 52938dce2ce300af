"""Valkey is a broker and a bell: killed, flushed or stopped, pushing and pulling do not notice."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from registry_core.supervisor.valkey import EmbeddedValkey
from tests.support.databases import create_database, drop_database
from tests.support.people import admin
from tests.support.registry import Image, digest_of, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server

REPOSITORY = "library/app"
PATIENCE_S = 10


@pytest.fixture
def valkey() -> Iterator[EmbeddedValkey]:
    folder = Path(tempfile.mkdtemp(prefix="portolan-broker-"))
    folder.chmod(0o711)  # Valkey runs as a user of its own when the tests run as root
    with (folder / "valkey.log").open("wb") as log:
        running = EmbeddedValkey(folder, log=log)
        yield running
        running.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def registry(valkey: EmbeddedValkey, tmp_path: Path, unique: str) -> Iterator[Server]:
    cluster = os.environ["PORTOLAN_DATABASE_URL"]
    server = Server(
        data=tmp_path / "data",
        database_url=create_database(cluster, unique),
        redis_url=valkey.start(),
        admin_password="Admin-of-one-test-1",
        environment={"PORTOLAN_WORKERS": "1"},
    )
    server.migrate()
    server.start()
    yield server
    server.stop()
    drop_database(cluster, unique)


def push_and_pull(registry: Server) -> None:
    """Sign in, push an image and pull it, each request within PATIENCE_S."""
    image: Image = make_image(layer_bytes=2000)
    headers = sign_in(registry, admin(registry), f"repository:{REPOSITORY}:pull,push")
    with httpx.Client(base_url=registry.url, headers=headers, timeout=PATIENCE_S) as client:
        for blob in image.blobs:
            push_blob(client, REPOSITORY, blob)
        put_manifest(client, REPOSITORY, "v1", image)
        assert client.get(f"/v2/{REPOSITORY}/manifests/v1").content == image.manifest
        assert client.get(f"/v2/{REPOSITORY}/blobs/{digest_of(image.blobs[1])}").content == image.blobs[1]


def test_push_and_pull_do_not_notice_a_broker_that_is_flushed_stopped_and_killed(
    registry: Server, valkey: EmbeddedValkey
) -> None:
    push_and_pull(registry)
    with redis.Redis.from_url(registry.environment["PORTOLAN_REDIS_URL"]) as broker:
        broker.flushall()
        pid = int(broker.info("server")["process_id"])
    push_and_pull(registry)

    os.kill(pid, signal.SIGSTOP)
    push_and_pull(registry)

    os.kill(pid, signal.SIGKILL)
    push_and_pull(registry)
