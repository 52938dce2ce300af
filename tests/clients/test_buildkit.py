"""BuildKit: images and build caches pushed by its own daemon, without Docker."""

import json
from pathlib import Path

import pytest

from tests.clients.programs import Client, House

pytestmark = pytest.mark.usefixtures("signed_in")


def build(buildctl: Client, context: Path, *options: str) -> str:
    """Build the folder's Dockerfile; what is shown."""
    where = ("--local", f"context={context}", "--local", f"dockerfile={context}")
    return buildctl.must("build", "--frontend", "dockerfile.v0", *where, "--progress", "plain", *options).text


@pytest.mark.parametrize("compression", ["gzip", "zstd", "estargz"])
def test_a_built_image_is_whole(
    buildctl: Client, skopeo: Client, house: House, build_context: Path, unique: str, compression: str
) -> None:
    reference = house.private_reference(f"{unique}:1")

    build(
        buildctl, build_context, "--output",
        f"type=image,name={reference},push=true,oci-mediatypes=true,compression={compression},force-compression=true",
    )  # fmt: skip

    skopeo.must("copy", f"docker://{reference}", f"dir:{build_context}/copied")


def test_two_platforms_and_their_provenance(
    buildctl: Client, crane: Client, house: House, build_context: Path, unique: str
) -> None:
    reference = house.private_reference(f"{unique}:1")

    build(
        buildctl, build_context, "--opt", "platform=linux/amd64,linux/arm64", "--opt", "attest:provenance=mode=min",
        "--output", f"type=image,name={reference},push=true,annotation-index.org.example=x",
    )  # fmt: skip

    index = json.loads(crane.must("manifest", reference).stdout)
    platforms = [entry["platform"]["architecture"] for entry in index["manifests"]]
    assert platforms == ["amd64", "arm64", "unknown", "unknown"]
    for architecture in ("amd64", "arm64"):
        crane.must("pull", "--platform", f"linux/{architecture}", reference, str(build_context / architecture))


@pytest.mark.parametrize("is_image", ["true", "false"])
def test_a_cache_in_the_registry_is_found_again(
    buildctl: Client, house: House, build_context: Path, unique: str, is_image: str
) -> None:
    (build_context / "Dockerfile").write_text(
        "FROM scratch AS one\nCOPY content /a\nFROM scratch\nCOPY --from=one /a /b\n"
    )
    cache = f"type=registry,ref={house.private_reference(f'{unique}:cache')}"
    build(buildctl, build_context, "--export-cache", f"{cache},mode=max,oci-mediatypes=true,image-manifest={is_image}")
    buildctl.must("prune", "--all")

    shown = build(
        buildctl, build_context, "--import-cache", cache, "--output", f"type=oci,dest={build_context}/out.tar"
    )

    assert "importing cache manifest" in shown
    assert "CACHED" in shown, shown
