"""Storage that lost or damaged something: found, taken out of service, and healed by what comes back."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import ServerFactory
from tests.support.people import admin
from tests.support.registry import digest_of, make_image, push_blob, put_manifest, sign_in
from tests.support.server import PORTOLAN, Server

REPOSITORY = "library/recovery"


@pytest.fixture(scope="module")
def registry(start_server: ServerFactory) -> Server:
    return start_server()


@pytest.fixture
def client(registry: Server) -> Iterator[httpx.Client]:
    headers = sign_in(registry, admin(registry), f"repository:{REPOSITORY}:pull,push")
    with httpx.Client(base_url=registry.url, headers=headers, timeout=30) as connected:
        yield connected


def storage(registry: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(PORTOLAN), "storage", *arguments]
    return subprocess.run(command, env=registry.environment, capture_output=True, text=True, timeout=120, check=False)


def object_of(registry: Server, content: bytes) -> Path:
    objects = (path for path in (registry.data / "objects").rglob("*") if path.is_file())
    return next(path for path in objects if path.read_bytes() == content)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_the_scrub_finds_a_flipped_bit_and_pushing_the_blob_again_heals_it(
    registry: Server, client: httpx.Client
) -> None:
    content = secrets.token_bytes(40_000)
    digest = push_blob(client, REPOSITORY, content)
    url = f"/v2/{REPOSITORY}/blobs/{digest}"
    assert client.get(url).status_code == 200
    damage(object_of(registry, content))

    scrubbed = storage(registry, "scrub", "--from-start")

    assert scrubbed.returncode == 1
    assert digest in scrubbed.stdout
    refused = client.get(url)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (404, "BLOB_UNKNOWN")
    assert "push it again" in refused.json()["errors"][0]["message"]
    assert client.head(url).status_code == 404
    checked = storage(registry, "check")
    assert (checked.returncode, "1 blobs in quarantine" in checked.stdout) == (0, True)

    push_blob(client, REPOSITORY, content)

    assert client.get(url).content == content
    assert storage(registry, "scrub", "--from-start").returncode == 0
    assert "1 objects without a row" in storage(registry, "sweep", "--idle=0").stdout  # the damaged bytes


def test_the_scrub_goes_on_where_it_was(registry: Server, client: httpx.Client) -> None:
    for _ in range(4):
        push_blob(client, REPOSITORY, secrets.token_bytes(1 << 20))
    assert "the round is complete" in storage(registry, "scrub", "--from-start").stdout

    runs = [storage(registry, "scrub", "--rate=1", "--for=0.5")]
    while "the round is complete" not in runs[-1].stdout:
        runs.append(storage(registry, "scrub", "--rate=1", "--for=0.5"))

    assert all(run.returncode == 0 for run in runs)
    assert len(runs) > 1


def test_a_blob_whose_object_is_gone_is_quarantined_and_its_manifest_is_kept(
    registry: Server, client: httpx.Client
) -> None:
    image = make_image(layer_bytes=9000)
    for blob in image.blobs:
        push_blob(client, REPOSITORY, blob)
    put_manifest(client, REPOSITORY, "kept", image)
    object_of(registry, image.blobs[1]).unlink()
    assert storage(registry, "check").returncode == 1

    repaired = storage(registry, "check", "--repair")

    assert (repaired.returncode, digest_of(image.blobs[1]) in repaired.stdout) == (0, True)
    assert client.get(f"/v2/{REPOSITORY}/manifests/kept").status_code == 200
    assert client.get(f"/v2/{REPOSITORY}/blobs/{digest_of(image.blobs[1])}").status_code == 404
    push_blob(client, REPOSITORY, image.blobs[1])
    assert client.get(f"/v2/{REPOSITORY}/blobs/{digest_of(image.blobs[1])}").content == image.blobs[1]


def test_bytes_that_lie_under_no_name_are_given_back_to_the_blob_that_lacks_them(
    registry: Server, client: httpx.Client
) -> None:
    content = secrets.token_bytes(5000)
    digest = push_blob(client, REPOSITORY, content)
    lost = object_of(registry, content)
    lost.rename(lost.with_name(lost.parent.name + secrets.token_hex(15)))

    repaired = storage(registry, "check", "--repair")

    assert f"healed {digest}" in repaired.stdout
    assert client.get(f"/v2/{REPOSITORY}/blobs/{digest}").content == content
    assert storage(registry, "check").returncode == 0
