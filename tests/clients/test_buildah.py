"""buildah: layers compressed in each way that it knows, and encrypted ones."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.clients.programs import Client, House

pytestmark = pytest.mark.usefixtures("signed_in")

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def _build(buildah: Client, context: Path, reference: str) -> None:
    buildah.must("build", "--no-cache", "--tag", reference, str(context))


def _content(buildah: Client, reference: str) -> bytes:
    """What the image's one file holds once an engine has unpacked it. Leaves no container behind."""
    container = buildah.must("from", "--pull-never", reference).stdout.strip()
    try:
        mounted = Path(buildah.must("mount", container).stdout.strip())
        return (mounted / "content").read_bytes()
    finally:
        buildah.must("rm", container)


def _layer(skopeo: Client, reference: str, folder: Path) -> tuple[str, bytes]:
    """The media type and the stored bytes of the image's one layer."""
    skopeo.must("copy", "--preserve-digests", f"docker://{reference}", f"dir:{folder}")
    (layer,) = json.loads((folder / "manifest.json").read_text())["layers"]
    return layer["mediaType"], (folder / layer["digest"].removeprefix("sha256:")).read_bytes()


@pytest.mark.parametrize(
    ("compression", "suffix", "magic"),
    [
        ("gzip", "+gzip", GZIP_MAGIC),
        ("zstd", "+zstd", ZSTD_MAGIC),
        ("zstd:chunked", "+zstd", ZSTD_MAGIC),
    ],
)
def test_a_compressed_layer_is_kept_as_it_was_sent(
    buildah: Client, skopeo: Client, house: House, build_context: Path, tmp_path: Path, unique: str,
    compression: str, suffix: str, magic: bytes,
) -> None:  # fmt: skip
    reference = house.private_reference(f"{unique}:1")
    _build(buildah, build_context, reference)

    push = buildah("push", "--format", "oci", "--compression-format", compression, reference)

    assert push.is_success, push.text
    media_type, layer = _layer(skopeo, reference, tmp_path / "stored")
    assert media_type == f"application/vnd.oci.image.layer.v1.tar{suffix}"
    assert layer.startswith(magic)
    buildah.must("rmi", reference)
    buildah.must("pull", reference)
    assert _content(buildah, reference) == (build_context / "content").read_bytes()


def test_chunked_zstd_keeps_the_annotations_that_a_partial_pull_needs(
    buildah: Client, skopeo: Client, house: House, build_context: Path, unique: str
) -> None:
    reference = house.private_reference(f"{unique}:1")
    _build(buildah, build_context, reference)

    buildah.must("push", "--format", "oci", "--compression-format", "zstd:chunked", reference)

    (layer,) = json.loads(skopeo.must("inspect", "--raw", f"docker://{reference}").stdout)["layers"]
    assert {"io.containers.zstd-chunked.manifest-checksum", "io.containers.zstd-chunked.manifest-position"} <= set(
        layer["annotations"]
    )


def test_an_image_of_docker_s_format_keeps_its_types(
    buildah: Client, skopeo: Client, house: House, build_context: Path, unique: str
) -> None:
    reference = house.private_reference(f"{unique}:1")
    _build(buildah, build_context, reference)

    buildah.must("push", "--format", "v2s2", reference)

    manifest = json.loads(skopeo.must("inspect", "--raw", f"docker://{reference}").stdout)
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert manifest["layers"][0]["mediaType"] == "application/vnd.docker.image.rootfs.diff.tar.gzip"


def test_an_encrypted_image_can_only_be_pulled_with_its_key(
    buildah: Client, skopeo: Client, house: House, build_context: Path, tmp_path: Path, unique: str
) -> None:
    reference = house.private_reference(f"{unique}:1")
    public, private = _key_pair(tmp_path)
    _build(buildah, build_context, reference)

    push = buildah("push", "--format", "oci", "--encryption-key", f"jwe:{public}", reference)

    assert push.is_success, push.text
    media_type, _ = _layer(skopeo, reference, tmp_path / "stored")
    assert media_type == "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"
    buildah.must("rmi", reference)
    assert not buildah("pull", reference).is_success
    buildah.must("pull", "--decryption-key", str(private), reference)
    assert _content(buildah, reference) == (build_context / "content").read_bytes()


def _key_pair(folder: Path) -> tuple[Path, Path]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public, private = folder / "public.pem", folder / "private.pem"
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return public, private
