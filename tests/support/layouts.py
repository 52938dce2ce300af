"""Images as files: a folder in OCI's image layout, which skopeo, crane, regctl and oras read.

Layers are real archives and configurations name them truly, so that an engine can unpack what it pulls.
"""

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"

Descriptor = dict[str, Any]


class Layout:
    """One folder (OCI image-spec "Image Layout"). Blobs are added; tags point at descriptors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tagged: list[Descriptor] = []
        (folder / "blobs" / "sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def add(self, content: bytes, media_type: str, **more: Any) -> Descriptor:
        """Keep a blob; its descriptor."""
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs" / "sha256" / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)} | more

    def read(self, descriptor: Descriptor) -> bytes:
        """The content of a blob that was added."""
        return self.path(descriptor).read_bytes()

    def path(self, descriptor: Descriptor) -> Path:
        return self.folder / "blobs" / "sha256" / str(descriptor["digest"]).removeprefix("sha256:")

    def tag(self, descriptor: Descriptor, name: str) -> None:
        """Let `name` mean the manifest or the index."""
        self._tagged.append(descriptor | {"annotations": {"org.opencontainers.image.ref.name": name}})
        index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": self._tagged}
        (self.folder / "index.json").write_text(json.dumps(index))

    def digest(self, name: str) -> str:
        """The digest that the tag means."""
        names = {str(entry["annotations"]["org.opencontainers.image.ref.name"]): entry for entry in self._tagged}
        return str(names[name]["digest"])

    def where(self, name: str) -> str:
        """The tag as crane, regctl (`ocidir://`), skopeo and podman (`oci:`) and oras write it."""
        return f"{self.folder}:{name}"


def archive(files: Mapping[str, bytes]) -> bytes:
    """A tar archive, the same for the same files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as made:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            made.addfile(entry, io.BytesIO(text))
    return content.getvalue()


def new_archive(size_bytes: int = 20_000) -> bytes:
    """An archive of one random file, which no registry has yet."""
    return archive({f"file-{os.urandom(4).hex()}": os.urandom(size_bytes)})


def new_image(layout: Layout, *, architecture: str = "amd64", layers: int = 1, is_gzip: bool = True) -> Descriptor:
    """Add an image of random layers; its manifest's descriptor, with the platform."""
    archives = [new_archive() for _ in range(layers)]
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in archives]},
    }
    kind = LAYER_TYPE + ("+gzip" if is_gzip else "")
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": layout.add(json.dumps(config).encode(), CONFIG_TYPE),
        "layers": [layout.add(gzip.compress(tar) if is_gzip else tar, kind) for tar in archives],
    }
    platform = {"architecture": architecture, "os": "linux"}
    return layout.add(json.dumps(manifest).encode(), MANIFEST_TYPE, platform=platform)


def new_index(layout: Layout, *architectures: str) -> Descriptor:
    """Add an index of new images, one per architecture; its descriptor."""
    images = [new_image(layout, architecture=architecture) for architecture in architectures]
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": images}
    return layout.add(json.dumps(index).encode(), INDEX_TYPE)
