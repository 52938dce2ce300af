"""A disk without a byte left, with all files of the registry on it: no process dies, and what needs no room works."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.faults.test_outages import of_console, of_rest, send
from tests.support.databases import create_database, drop_database
from tests.support.people import admin
from tests.support.registry import digest_of, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server
from tests.support.waiting import wait_until

REPOSITORY = "library/app"
SCOPE = f"repository:{REPOSITORY}:pull,push"
DISK_MIB = 24

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param == "tmpfs":
        command: list[str] = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)]
    else:
        image = tmp_path / "image"
        subprocess.run(["truncate", f"--size={DISK_MIB}M", str(image)], check=True)
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("there is no mkfs.ext4")
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
        command = ["mount", "-o", "loop", str(image), str(folder)]
    if subprocess.run(command, check=False).returncode != 0:
        pytest.skip("such a disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def registry(disk: Path) -> Iterator[Server]:
    """A registry that has all of its files, its log included, on the small disk."""
    cluster, database = os.environ["PORTOLAN_DATABASE_URL"], f"portolan_full_{secrets.token_hex(4)}"
    server = Server(
        data=disk / "data",
        database_url=create_database(cluster, database),
        redis_url=os.environ["PORTOLAN_REDIS_URL"],
        admin_password="Admin-of-one-test-1",
        environment={"PORTOLAN_WORKERS": "2"},
    )
    server.migrate()
    server.start()
    yield server
    server.stop()
    drop_database(cluster, database)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4k"], capture_output=True, check=False)
    subprocess.run(["dd", "if=/dev/zero", f"of={disk / 'crumbs'}", "bs=1"], capture_output=True, check=False)
    assert os.statvfs(disk).f_bavail < 8
    return ballast


def test_no_process_dies_and_all_that_needs_no_room_is_answered(registry: Server, disk: Path) -> None:
    image = make_image(layer_bytes=3000)
    headers = sign_in(registry, admin(registry), SCOPE)
    with httpx.Client(base_url=registry.url, headers=headers, timeout=60) as client:
        layer = push_blob(client, REPOSITORY, image.blobs[1])
        push_blob(client, REPOSITORY, image.blobs[0])
        put_manifest(client, REPOSITORY, "v1", image)
        before = registry.pids()
        ballast = fill(disk)

        for number in range(40):
            scope = f"repository:library/r{number}:pull"
            assert httpx.get(f"{registry.url}/service/token", params={"scope": scope}, timeout=60).status_code == 200
        assert client.get(f"/v2/{REPOSITORY}/manifests/v1").content == image.manifest
        assert client.get(f"/v2/{REPOSITORY}/blobs/{layer}").content == image.blobs[1]
        begun = client.post(f"/v2/{REPOSITORY}/blobs/uploads/")
        large = secrets.token_bytes(2 << 20)
        refused = client.put(begun.headers["location"], params={"digest": digest_of(large)}, content=large)
        assert refused.status_code == 507
        assert refused.json()["errors"][0]["code"] == "UNAVAILABLE"
        asks = [ask for ask in (*of_rest(registry), *of_console(registry)) if ask.method == "GET"]
        failed = [(ask.path, status) for ask in asks if (status := send(registry, ask).response.status_code) >= 500]
        assert failed == []
        health = httpx.get(f"{registry.url}/api/v2.0/health", timeout=60).json()
        assert {part["name"] for part in health["components"] if part["status"] == "unhealthy"} >= {"storage", "disk"}
        assert registry.pids() == before

        ballast.unlink()
        wait_until(lambda: push_blob(client, REPOSITORY, large) == digest_of(large), what="the push is taken")
    assert registry.pids() == before


def test_registry_starts_again_on_the_full_disk(registry: Server, disk: Path) -> None:
    httpx.get(f"{registry.url}/service/token", params={"scope": "repository:library/app:pull"}, timeout=60)
    fill(disk)
    registry.restart()
    answer = httpx.get(f"{registry.url}/service/token", params={"scope": "repository:library/app:pull"}, timeout=60)
    assert answer.status_code == 200
