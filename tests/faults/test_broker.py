"""Valkey is a broker and a bell: killed, flushed, stopped, loading or slow, pushing and pulling do not notice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from registry_core.wiring.supervisor.valkey import EmbeddedValkey
from tests.support.databases import create_database, drop_database
from tests.support.people import admin
from tests.support.registry import Image, digest_of, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server
from tests.support.waiting import wait_until

REPOSITORY = "library/app"
PATIENCE_S = 10
# Longer than a test takes: whatever waited for Valkey would wait for longer than PATIENCE_S.
LOADS_FOR_S = 120
KEYS = 10_000


class LoadingValkey(EmbeddedValkey):
    """A Valkey that takes LOADS_FOR_S to load its KEYS keys; `start()` returns when it says that it does."""

    def _configuration(self, directory: Path) -> str:
        delay_us = LOADS_FOR_S * 1_000_000 // KEYS
        return f"{super()._configuration(directory)}key-load-delay {delay_us}\n{_ANSWERS_WHILE_LOADING}\n"

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        with redis.Redis(host="127.0.0.1", port=self.port, password=self._password(), socket_timeout=5) as client:
            wait_until(lambda: is_loading(client), what="Valkey says that it is loading")


_ANSWERS_WHILE_LOADING = "loading-process-events-interval-bytes 1024"


def is_loading(client: redis.Redis) -> bool:
    try:
        client.ping()
    except redis.BusyLoadingError:
        return True
    except redis.RedisError:
        pass
    return False


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


def test_push_and_pull_do_not_notice_a_broker_that_is_loading(registry: Server, valkey: EmbeddedValkey) -> None:
    with redis.Redis.from_url(registry.environment["PORTOLAN_REDIS_URL"]) as broker:
        broker.mset({f"key:{number}": "x" * 100 for number in range(KEYS)})
        broker.save()
    valkey.stop()
    loading = LoadingValkey(valkey._data)
    loading.port = valkey.port
    loading.start()
    try:
        with redis.Redis.from_url(registry.environment["PORTOLAN_REDIS_URL"]) as broker:
            push_and_pull(registry)
            assert is_loading(broker), "it was loading all the time"
    finally:
        os.killpg(loading.group, signal.SIGKILL)
        loading.stop()


def test_push_and_pull_do_not_notice_a_broker_that_is_slow(registry: Server) -> None:
    with redis.Redis.from_url(registry.environment["PORTOLAN_REDIS_URL"], socket_timeout=0.5) as broker:
        broker.client_pause(LOADS_FOR_S * 1000, all=True)

        push_and_pull(registry)

        with pytest.raises(redis.TimeoutError):  # it takes commands all the time, and answers none
            broker.ping()
