"""Parsing of manifests: strict, by structure, preserving the bytes.

What a manifest refers to is derived from its bytes alone, whatever content type was sent, so that one document cannot
have two meanings (CVE-2021-41190). OCI image-spec "Image Manifest" and "Image Index", Docker schema 2.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from registry_core.content.descriptors import (
    SIZE_MAX,
    check_annotations,
    check_descriptor,
    check_digest,
    check_media_type,
)
from registry_core.content.errors import ManifestInvalid
from registry_core.content.models import ManifestDescriptor
from registry_core.content.pushed_types import check_pushed_type
from registry_core.digests import Digest, DigestError
from registry_core.json_limits import excess

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
ARTIFACT_MANIFEST: Final = "application/vnd.oci.artifact.manifest.v1+json"
IMAGES: Final = {OCI_MANIFEST, DOCKER_MANIFEST}
INDEXES: Final = {OCI_INDEX, DOCKER_LIST}
MANIFEST_TYPES: Final = IMAGES | INDEXES | {ARTIFACT_MANIFEST}

ICON: Final = "io.goharbor.artifact.v1alpha1.icon"
ICON_MAX_BYTES: Final = 256 << 10
NYDUS_BOOTSTRAP: Final = "containerd.io/snapshot/nydus-bootstrap"
NYDUS_SOURCE: Final = "io.goharbor.artifact.v1alpha1.acceleration.source.digest"

MAX_ENTRIES: Final = 4096
MAX_DEPTH: Final = 64
_SCHEMA_1: Final = "application/vnd.docker.distribution.manifest.v1+"
_FOREIGN: Final = re.compile(r"\.(nondistributable|foreign)\.")

Role = ManifestDescriptor.Role


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One reference of a manifest."""

    role: int
    digest: Digest
    media_type: str
    size_bytes: int
    platform: dict[str, Any] | None = None
    is_foreign: bool = False


@dataclass(frozen=True, slots=True)
class ParsedManifest:
    """A valid manifest.

    `icon` is the layer that is annotated as its picture, `accelerates` the artifact of which it is an accelerated form.
    """

    content: bytes
    digest: Digest
    media_type: str
    artifact_type: str
    subject: Digest | None
    descriptors: tuple[Descriptor, ...]
    annotations: bytes | None
    icon: Digest | None = None
    accelerates: Digest | None = None

    @property
    def config(self) -> Descriptor | None:
        """Its config; None for an index."""
        return next((descriptor for descriptor in self.descriptors if descriptor.role == Role.CONFIG), None)

    @property
    def size_bytes(self) -> int:
        """The artifact's size: the manifest and everything that it refers to."""
        total = len(self.content) + sum(descriptor.size_bytes for descriptor in self.descriptors)
        return min(total, SIZE_MAX)


def parse_manifest(content: bytes, *, content_type: str, algorithm: str = "sha256") -> ParsedManifest:
    """The manifest in `content`, pushed as `content_type`. Raises ManifestInvalid with a message that says what is
    wrong."""
    document = _load(content)
    media_type = _media_type(document, content_type)
    _check_structure(document, media_type)
    descriptors = tuple(_descriptors(document))
    if len(descriptors) > MAX_ENTRIES:
        raise ManifestInvalid(f"a manifest refers to at most {MAX_ENTRIES} others, this one to {len(descriptors)}")
    return ParsedManifest(
        content=content,
        digest=Digest.of(content, algorithm),
        media_type=media_type,
        artifact_type=_artifact_type(document),
        subject=_subject(document),
        descriptors=descriptors,
        annotations=_annotations(document),
        icon=_icon(document),
        accelerates=_accelerated(document),
    )


def _load(content: bytes) -> dict[str, Any]:
    if too_much := excess(content):
        raise ManifestInvalid(f"the manifest has {too_much}: split it")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise ManifestInvalid("the manifest is not UTF-8") from None
    if text.startswith("\ufeff"):
        raise ManifestInvalid("the manifest begins with a byte order mark: send it without")
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise ManifestInvalid("the manifest is nested too deeply") from None
    except ValueError as error:
        raise ManifestInvalid(f"the manifest is not valid JSON: {str(error)[:200]}") from None
    if not isinstance(document, dict):
        raise ManifestInvalid("a manifest must be a JSON object")
    _check_depth(document)
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _check_depth(document: dict[str, Any]) -> None:
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for value in level:
            inner.extend(value.values() if isinstance(value, dict) else value)
        level = [value for value in inner if isinstance(value, dict | list)]
        if not level:
            return
    raise ManifestInvalid(f"the manifest is nested deeper than {MAX_DEPTH} levels")


def _media_type(document: dict[str, Any], content_type: str) -> str:
    stated = document.get("mediaType")
    if stated is not None and not isinstance(stated, str):
        raise ManifestInvalid("mediaType must be a string")
    stated = _without_parameters(stated or "")
    media_type = check_pushed_type(_without_parameters(content_type) or stated)
    if media_type.startswith(_SCHEMA_1) or document.get("schemaVersion") == 1:
        raise ManifestInvalid(
            "Docker image manifests of schema 1 are not supported: push the image again with Docker 1.10 or later, "
            "or convert it with skopeo copy --format v2s2"
        )
    if stated and stated != media_type:
        raise ManifestInvalid(f"the manifest says it is {stated}, the Content-Type says {media_type}")
    return media_type


def _without_parameters(media_type: str) -> str:
    return media_type.partition(";")[0].strip()


def _check_structure(document: dict[str, Any], media_type: str) -> None:
    has_image_parts = "layers" in document or "config" in document
    if "manifests" in document and has_image_parts:
        raise ManifestInvalid("a manifest has either layers and a config or manifests, not both")
    if media_type in IMAGES | INDEXES and document.get("schemaVersion") != 2:
        raise ManifestInvalid("schemaVersion must be 2")
    # In the image-spec a config is required for images and layers are not; an index must have its list, which may be
    # empty. Programs in Go write an empty list as null.
    if media_type in IMAGES and not isinstance(document.get("config"), dict):
        raise ManifestInvalid("an image manifest must have a config")
    if media_type in INDEXES and "manifests" not in document:
        raise ManifestInvalid("an image index must have a list of manifests")


def _descriptors(document: dict[str, Any]) -> list[Descriptor]:
    found = []
    if document.get("config") is not None:
        found.append(_descriptor(document["config"], Role.CONFIG, "config"))
    for field in ("layers", "blobs"):
        found += [_descriptor(entry, Role.LAYER, f"{field}[{n}]") for n, entry in enumerate(_list(document, field))]
    for number, entry in enumerate(_list(document, "manifests")):
        descriptor = _descriptor(entry, Role.MANIFEST, f"manifests[{number}]")
        # A BuildKit cache is an index whose entries are layers: the media type tells what an entry is.
        is_manifest = descriptor.media_type in MANIFEST_TYPES
        found.append(descriptor if is_manifest else _descriptor(entry, Role.BLOB, f"manifests[{number}]"))
    return found


def _subject(document: dict[str, Any]) -> Digest | None:
    subject = document.get("subject")
    return None if subject is None else _descriptor(subject, Role.MANIFEST, "subject").digest


def _list(document: dict[str, Any], field: str) -> list[Any]:
    entries = document.get(field)
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise ManifestInvalid(f"{field} is a list")
    if len(entries) > MAX_ENTRIES:
        raise ManifestInvalid(f"{field} has at most {MAX_ENTRIES} entries, this one {len(entries)}")
    return entries


def _descriptor(entry: Any, role: int, where: str) -> Descriptor:
    found = check_descriptor(entry, where)
    return Descriptor(
        role,
        check_digest(found["digest"], where),
        found["mediaType"],
        found["size"],
        found.get("platform"),
        _FOREIGN.search(found["mediaType"]) is not None,
    )


def _artifact_type(document: dict[str, Any]) -> str:
    stated = document.get("artifactType")
    if stated is not None and stated != "":
        return check_media_type(stated, "artifactType")
    config = document.get("config")
    return str(config["mediaType"]) if isinstance(config, dict) else ""


def _annotations(document: dict[str, Any]) -> bytes | None:
    annotations = check_annotations(document.get("annotations"), "")
    return json.dumps(annotations).encode() if annotations else None


def _icon(document: dict[str, Any]) -> Digest | None:
    """The first small layer that is annotated as the artifact's picture."""
    for layer in _list(document, "layers"):
        if ICON in _texts(layer) and layer["size"] <= ICON_MAX_BYTES:
            return Digest.parse(layer["digest"])
    return None


def _accelerated(document: dict[str, Any]) -> Digest | None:
    """The artifact that this one is a nydus image of, as the manifest's or its last layer's annotations say."""
    layers = _list(document, "layers")
    last = _texts(layers[-1]) if layers else {}
    is_nydus = NYDUS_BOOTSTRAP in last
    source = last.get(NYDUS_SOURCE) or _texts(document).get(NYDUS_SOURCE) or ""
    try:
        return Digest.parse(source) if is_nydus and source else None
    except DigestError:
        return None


def _texts(holder: dict[str, Any]) -> dict[str, str]:
    """The annotations with text values; other values are ignored here."""
    annotations = holder.get("annotations")
    if not isinstance(annotations, dict):
        return {}
    return {name: value for name, value in annotations.items() if isinstance(value, str)}
