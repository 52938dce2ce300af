"""A disk that is full or read-only: a clear refusal, nothing half-written, and all works again with the space."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.databases import create_database, drop_database
from tests.support.people import admin
from tests.support.registry import digest_of, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server
from tests.support.waiting import wait_until

REPOSITORY = "library/app"
SCOPE = f"repository:{REPOSITORY}:pull,push"
DISK_BYTES = 24 << 20

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def registry(small_disk: Path, tmp_path: Path) -> Iterator[Server]:
    """A registry whose objects lie on a disk of their own, which is small."""
    cluster, database = os.environ["PORTOLAN_DATABASE_URL"], f"portolan_disk_{secrets.token_hex(4)}"
    server = Server(
        data=small_disk / "data",
        database_url=create_database(cluster, database),
        redis_url=os.environ["PORTOLAN_REDIS_URL"],
        admin_password="Admin-of-one-test-1",
        environment={"PORTOLAN_MACHINE": str(tmp_path / "machine"), "PORTOLAN_WORKERS": "1"},
    )
    server.log_path = tmp_path / "server.log"
    server.migrate()
    server.start()
    yield server
    server.stop()
    drop_database(cluster, database)


@pytest.fixture
def client(registry: Server) -> Iterator[httpx.Client]:
    headers = sign_in(registry, admin(registry), SCOPE)
    with httpx.Client(base_url=registry.url, headers=headers, timeout=60) as connected:
        yield connected


def storage_is_clean(registry: Server) -> bool:
    report = "from registry_core.content.check import check_storage; print(check_storage().is_clean)"
    return registry.manage(report).strip() == "True"


def refused_push(client: httpx.Client, content: bytes) -> httpx.Response:
    begun = client.post(f"/v2/{REPOSITORY}/blobs/uploads/")
    return client.put(begun.headers["location"], params={"digest": digest_of(content)}, content=content)


def test_a_full_disk_refuses_a_push_in_words_and_takes_it_when_there_is_space_again(
    registry: Server, client: httpx.Client, small_disk: Path
) -> None:
    image = make_image(layer_bytes=100_000)
    for blob in image.blobs:
        push_blob(client, REPOSITORY, blob)
    ballast = small_disk / "ballast"
    large = secrets.token_bytes(8 << 20)
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=1M"], capture_output=True, check=False)

    full = refused_push(client, large)

    assert full.status_code == 507
    assert full.json()["errors"][0]["code"] == "UNAVAILABLE"
    assert "No space left on device" in full.json()["errors"][0]["message"]
    put_manifest(client, REPOSITORY, "v1", image)  # a manifest needs no room on this disk
    assert client.get(f"/v2/{REPOSITORY}/manifests/v1").status_code == 200
    assert client.head(f"/v2/{REPOSITORY}/blobs/{digest_of(large)}").status_code == 404

    ballast.unlink()

    wait_until(lambda: push_blob(client, REPOSITORY, large) == digest_of(large), what="the push is taken")
    registry.manage("from registry_core.content.uploads import sweep_uploads; sweep_uploads(ttl_s=0)")
    assert storage_is_clean(registry)


def test_an_upload_that_met_a_full_disk_goes_on_where_it_was(
    registry: Server, client: httpx.Client, small_disk: Path
) -> None:
    content = secrets.token_bytes(6 << 20)
    location = client.post(f"/v2/{REPOSITORY}/blobs/uploads/").headers["location"]
    assert client.patch(location, content=content[: 2 << 20]).status_code == 202
    ballast = small_disk / "ballast"
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=1M"], capture_output=True, check=False)
    assert client.patch(location, content=content[2 << 20 :]).status_code == 507
    ballast.unlink()

    offset = int(client.get(location).headers["range"].removeprefix("0-")) + 1
    assert 2 << 20 <= offset <= len(content)
    finished = client.put(location, params={"digest": digest_of(content)}, content=content[offset:])

    assert finished.status_code == 201
    assert client.get(f"/v2/{REPOSITORY}/blobs/{digest_of(content)}").content == content


def test_a_read_only_disk_refuses_pushes_and_serves_pulls(
    registry: Server, client: httpx.Client, small_disk: Path
) -> None:
    layer = secrets.token_bytes(50_000)
    push_blob(client, REPOSITORY, layer)
    # A mount that is written to cannot be made read-only: there is no open file of ours left, so this one can.
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    refused = refused_push(client, secrets.token_bytes(1000))

    assert refused.status_code == 507
    assert "Read-only file system" in refused.json()["errors"][0]["message"]
    assert client.get(f"/v2/{REPOSITORY}/blobs/{digest_of(layer)}").content == layer

    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert push_blob(client, REPOSITORY, layer) == digest_of(layer)
