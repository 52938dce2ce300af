"""Content for the tests of the API: images, charts, indexes and signatures, put by the application's own operations."""

from __future__ import annotations

import gzip
import json
import secrets
from typing import Any

from registry_core.content.blobs import BlobRef, store_blob
from registry_core.content.manifests import put_manifest
from registry_core.content.models import Project
from registry_core.content.parsing import OCI_INDEX, OCI_MANIFEST, parse_manifest
from registry_core.content.repositories import RepositoryRef, changing, project_ref
from registry_core.digests import Digest
from registry_core.names import RepositoryName
from registry_core.storage.stores import default_store
from tests.support.layouts import archive
from tests.support.operations import BY_SYSTEM, make_repository

IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
CHART_CONFIG = "application/vnd.cncf.helm.config.v1+json"
CHART_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"


def repository_of(project: Project, name: str) -> RepositoryRef:
    """The repository, made if need be."""
    return make_repository(project_ref(project), RepositoryName(project.name, name))


def put_blob(repository: RepositoryRef, content: bytes) -> Digest:
    """Bytes in the store, linked to the repository."""
    store = default_store()
    key, digest = store.new_key(), Digest.of(content)
    writer = store.writer(key, offset=0, parts=[])
    writer.write(content)
    stored_as = writer.commit()
    writer.close()
    with changing():
        store_blob(repository=repository, blob=BlobRef(0, digest, len(content), store.name, stored_as))
    return digest


def put(
    repository: RepositoryRef, *tags: str, config: bytes = b"", config_type: str = IMAGE_CONFIG,
    layers: tuple[tuple[str, bytes], ...] | None = None, layer_annotations: dict[str, str] | None = None, **fields: Any,
) -> Digest:  # fmt: skip
    """An artifact with a config and layers (type, content); by itself an image that no other is like."""
    config = config or image_config(nonce=secrets.token_hex(8))
    described = [(kind, content) for kind, content in (((LAYER, b"layer"),) if layers is None else layers)]
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(repository, config_type, config),
        "layers": [
            descriptor(repository, kind, content) | ({"annotations": layer_annotations} if layer_annotations else {})
            for kind, content in described
        ],
    } | fields
    return put_document(repository, manifest, *tags, media_type=OCI_MANIFEST)


def put_index(repository: RepositoryRef, children: list[Digest], *tags: str, **fields: Any) -> Digest:
    """An index of images, the first for amd64, the others for arm64."""
    entries = [
        {"mediaType": OCI_MANIFEST, "digest": str(child), "size": 2,
         "platform": {"architecture": "arm64" if number else "amd64", "os": "linux"}}
        for number, child in enumerate(children)
    ]  # fmt: skip
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries} | fields
    return put_document(repository, document, *tags, media_type=OCI_INDEX)


def put_document(repository: RepositoryRef, document: dict[str, Any], *tags: str, media_type: str) -> Digest:
    """A manifest as it is."""
    manifest = parse_manifest(json.dumps(document).encode(), content_type=media_type)
    put_manifest(repository=repository, manifest=manifest, tags=tags, cause=BY_SYSTEM)
    return manifest.digest


def put_about(repository: RepositoryRef, subject: Digest, artifact_type: str, *tags: str) -> Digest:
    """An artifact about another one, by its `subject`."""
    about = {"mediaType": OCI_MANIFEST, "digest": str(subject), "size": 2}
    return put(repository, *tags, subject=about, artifactType=artifact_type)


def put_chart(repository: RepositoryRef, tag: str, files: dict[str, str], **metadata: Any) -> Digest:
    """A Helm chart of these files, which stand in a folder of its name."""
    chart = {"name": "chart", "version": tag, "apiVersion": "v2"} | metadata
    layer = tgz({f"chart/{name}": content.encode() for name, content in files.items()})
    return put(
        repository, tag, config=json.dumps(chart).encode(), config_type=CHART_CONFIG, layers=((CHART_LAYER, layer),)
    )


def image_config(**fields: Any) -> bytes:
    """The config of an image for linux/amd64."""
    history = [{"created": "2026-01-01T00:00:00Z", "created_by": "/bin/sh -c make"}]
    return json.dumps({"architecture": "amd64", "os": "linux", "history": history} | fields).encode()


def tgz(files: dict[str, bytes]) -> bytes:
    """A compressed archive of these files."""
    return gzip.compress(archive(files), mtime=0)


def descriptor(repository: RepositoryRef, media_type: str, content: bytes) -> dict[str, Any]:
    """A descriptor of content that is put for it."""
    digest = put_blob(repository, content)
    return {"mediaType": media_type, "digest": str(digest), "size": len(content)}
