"""Content of every kind that registries are given, pushed by one client and read by others."""

import json
from pathlib import Path

import pytest

from tests.clients.doors import Registry
from tests.clients.programs import Client, House, ctr_door
from tests.distribution.client import CONFIG, descriptor, digest_of, image, index
from tests.distribution.client import Client as HttpClient
from tests.support.layouts import MANIFEST_TYPE, Layout, new_image, new_index

pytestmark = pytest.mark.usefixtures("signed_in")

EMPTY = "application/vnd.oci.empty.v1+json"
CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


def test_an_uncompressed_layer_stays_as_it_is_and_is_pulled_by_engines(
    registry: Registry, crane: Client, podman: Client, skopeo: Client, ctr: Client, house: House, layout: Layout,
    unique: str,
) -> None:  # fmt: skip
    reference = house.public_reference(f"{unique}:1")
    layout.tag(new_image(layout, layers=3, is_gzip=False), "plain")

    skopeo.must("copy", "--preserve-digests", f"oci:{layout.where('plain')}", f"docker://{reference}")

    assert crane.must("digest", reference).stdout.strip() == layout.digest("plain")
    assert podman("pull", reference).is_success
    assert ctr("images", "pull", *ctr_door(ctr, is_tls=registry.is_tls), reference).is_success


def test_an_index_within_an_index(regctl: Client, crane: Client, house: House, layout: Layout, unique: str) -> None:
    inner = new_index(layout, "amd64", "arm64")
    outer = {"schemaVersion": 2, "mediaType": inner["mediaType"], "manifests": [inner, new_image(layout)]}
    layout.tag(layout.add(json.dumps(outer).encode(), inner["mediaType"]), "outer")
    reference = house.private_reference(f"{unique}:1")

    regctl.must("image", "copy", f"ocidir://{layout.where('outer')}", reference)

    assert crane.must("digest", reference).stdout.strip() == layout.digest("outer")
    assert crane("manifest", f"{house.private_reference(unique)}@{inner['digest']}").is_success


def test_a_foreign_layer_need_not_be_there(
    owner_http: HttpClient, skopeo: Client, crane: Client, house: House, unique: str
) -> None:
    """A Windows image's base layer stays where its URL says."""
    foreign = descriptor(
        b"never pushed",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        urls=["https://example.org/base.tar.gz"],
    )
    owner_http.push_blob(b"own layer")
    owner_http.push_blob(b"{}")
    manifest = image(layers=[foreign, descriptor(b"own layer")])

    put = owner_http.put_manifest(manifest, "1")

    assert put.status_code == 201, put.text
    raw = skopeo.must("inspect", "--raw", f"docker://{house.private_reference(unique)}:1").stdout
    assert raw.encode() == manifest
    assert crane.must("digest", house.private_reference(f"{unique}:1")).stdout.strip() == digest_of(manifest)


def test_an_artifact_with_an_empty_config_and_no_layers(
    owner_http: HttpClient, oras: Client, regctl: Client, crane: Client, house: House, unique: str
) -> None:
    reference = house.private_reference(f"{unique}:1")
    owner_http.push_blob(b"{}")
    manifest = image(artifactType="application/vnd.example.note", config=descriptor(b"{}", EMPTY), layers=[])

    put = owner_http.put_manifest(manifest, "1")

    assert put.status_code == 201, put.text
    assert oras.must("manifest", "fetch", reference).stdout.encode() == manifest
    assert regctl.must("manifest", "get", reference, "--format", "raw-body").stdout.encode() == manifest
    assert crane.must("manifest", reference).stdout.strip().encode() == manifest


def test_a_note_of_annotations_alone_by_oras(oras: Client, house: House, unique: str) -> None:
    reference = house.private_reference(f"{unique}:1")

    push = oras("push", reference, "--artifact-type", "application/vnd.example.note", "--annotation", "a=b")

    assert push.is_success, push.text
    assert json.loads(oras.must("manifest", "fetch", reference).stdout)["annotations"]["a"] == "b"


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.ollama.image.model",
        "application/vnd.wasm.content.layer.v1+wasm",
        "application/vnd.cncf.model.weight.v1.tar",
        "application/vnd.docker.plugin.v1+json",
        "text/plain",
        "x/y",
        "application/vnd.a1.b-2.c_3.d^4+e",
    ],
)
def test_a_layer_of_any_media_type(oras: Client, house: House, tmp_path: Path, unique: str, media_type: str) -> None:
    reference = house.private_reference(f"{unique}:1")
    (tmp_path / "file").write_text(unique)

    push = oras("push", reference, f"file:{media_type}", folder=tmp_path)

    assert push.is_success, push.text
    (layer,) = json.loads(oras.must("manifest", "fetch", reference).stdout)["layers"]
    assert layer["mediaType"] == media_type
    oras.must("pull", reference, "--output", str(tmp_path / "pulled"))
    assert (tmp_path / "pulled" / "file").read_text() == unique


def test_a_cache_of_buildkit_is_an_index_of_layers(
    owner_http: HttpClient, crane: Client, oras: Client, house: House, unique: str
) -> None:
    """What `docker buildx build --cache-to type=registry` pushes: an index whose entries are layers and a config."""
    layers = [f"layer {number} of {unique}".encode() for number in range(3)]
    config = json.dumps({"layers": [{"blob": digest_of(layer)} for layer in layers], "records": []}).encode()
    for blob in (*layers, config):
        assert owner_http.push_blob(blob).status_code == 201
    entries = [descriptor(layer, LAYER_GZIP) for layer in layers] + [descriptor(config, CACHE_CONFIG)]
    cache = index(manifests=entries)

    put = owner_http.put_manifest(cache, "cache", content_type="application/vnd.oci.image.index.v1+json")

    assert put.status_code == 201, put.text
    reference = house.private_reference(unique)
    assert crane.must("manifest", f"{reference}:cache").stdout.strip().encode() == cache
    for layer in layers:
        assert crane.must("blob", f"{reference}@{digest_of(layer)}").stdout.encode() == layer
    assert oras("manifest", "fetch", f"{reference}:cache").is_success


def test_a_cache_of_buildkit_must_have_its_layers(owner_http: HttpClient, unique: str) -> None:
    cache = index(manifests=[descriptor(f"missing of {unique}".encode(), LAYER_GZIP)])

    put = owner_http.put_manifest(cache, "cache", content_type="application/vnd.oci.image.index.v1+json")

    assert put.status_code == 400
    assert "push it first" in put.text


def test_a_manifest_of_5000_layers_is_refused_with_the_limit(
    oras: Client, owner_http: HttpClient, house: House, tmp_path: Path, unique: str
) -> None:
    layer = f"layer of {unique}".encode()
    for blob in (b"{}", layer):
        owner_http.push_blob(blob)
    manifest = image(config=descriptor(b"{}", CONFIG), layers=[descriptor(layer)] * 5000)
    (tmp_path / "manifest.json").write_bytes(manifest)

    push = oras(
        "manifest", "push", "--media-type", MANIFEST_TYPE, house.private_reference(f"{unique}:1"),
        str(tmp_path / "manifest.json"),
    )  # fmt: skip

    assert not push.is_success
    assert "layers has at most 4096 entries, this one 5000" in push.text, push.text
