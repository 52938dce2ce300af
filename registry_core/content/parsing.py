"""Manifests as they come: read strictly, understood by their structure, kept byte for byte.

What a manifest refers to is derived from its bytes alone, whatever content type it came with; that closes the door to
one document meaning two things (CVE-2021-41190). OCI image-spec "Image Manifest" and "Image Index", Docker schema 2.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from registry_core.content.errors import ManifestInvalid
from registry_core.content.models import ManifestDescriptor
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
_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_FOREIGN: Final = re.compile(r"\.(nondistributable|foreign)\.")
_HALF_OF_A_PAIR: Final = re.compile("[\ud800-\udfff]")
_MAX_SIZE: Final = (1 << 63) - 1

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
    """A manifest that can be stored.

    `icon` is the layer that is said to be its picture, `accelerates` the artifact of which it is an accelerated form.
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
        """What the artifact weighs: the manifest and all that it refers to."""
        total = len(self.content) + sum(descriptor.size_bytes for descriptor in self.descriptors)
        return min(total, _MAX_SIZE)


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
        raise ManifestInvalid("a manifest is a JSON object")
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
        raise ManifestInvalid("mediaType is a string")
    sent = content_type.partition(";")[0].strip()
    media_type = sent or stated or ""
    if _MEDIA_TYPE.fullmatch(media_type) is None:
        raise ManifestInvalid("the Content-Type of a manifest is its media type, for example " + OCI_MANIFEST)
    if media_type.startswith(_SCHEMA_1) or document.get("schemaVersion") == 1:
        raise ManifestInvalid(
            "Docker image manifests of schema 1 are not supported: push the image again with Docker 1.10 or later, "
            "or convert it with skopeo copy --format v2s2"
        )
    if stated and stated != media_type:
        raise ManifestInvalid(f"the manifest says it is {stated}, the Content-Type says {media_type}")
    return media_type


def _check_structure(document: dict[str, Any], media_type: str) -> None:
    has_image_parts = "layers" in document or "config" in document
    if "manifests" in document and has_image_parts:
        raise ManifestInvalid("a manifest has either layers and a config or manifests, not both")
    if media_type in IMAGES | INDEXES and document.get("schemaVersion") != 2:
        raise ManifestInvalid("schemaVersion must be 2")
    if media_type in IMAGES and not (
        isinstance(document.get("config"), dict) and isinstance(document.get("layers"), list)
    ):
        raise ManifestInvalid("an image manifest has a config and a list of layers")
    if media_type in INDEXES and not isinstance(document.get("manifests"), list):
        raise ManifestInvalid("an image index has a list of manifests")


def _descriptors(document: dict[str, Any]) -> list[Descriptor]:
    found = []
    if document.get("config") is not None:
        found.append(_descriptor(document["config"], Role.CONFIG, "config"))
    for field in ("layers", "blobs"):
        found += [_descriptor(entry, Role.LAYER, f"{field}[{n}]") for n, entry in enumerate(_list(document, field))]
    for number, entry in enumerate(_list(document, "manifests")):
        descriptor = _descriptor(entry, Role.MANIFEST, f"manifests[{number}]")
        # A BuildKit cache is an index whose entries are layers: what an entry is, its media type says.
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
    if not isinstance(entry, dict):
        raise ManifestInvalid(f"{where} is not a descriptor")
    digest, media_type, size = entry.get("digest"), entry.get("mediaType"), entry.get("size")
    if not isinstance(media_type, str) or _MEDIA_TYPE.fullmatch(media_type) is None:
        raise ManifestInvalid(f"{where} has no valid mediaType")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_SIZE:
        raise ManifestInvalid(f"{where} has no valid size")
    try:
        parsed = Digest.parse(digest if isinstance(digest, str) else "")
    except DigestError as error:
        raise ManifestInvalid(f"{where}: {error}") from None
    return Descriptor(role, parsed, media_type, size, _platform(entry, where), _FOREIGN.search(media_type) is not None)


def _platform(entry: dict[str, Any], where: str) -> dict[str, Any] | None:
    platform = entry.get("platform")
    if platform is None:
        return None
    if not isinstance(platform, dict) or not _is_storable(platform):
        raise ManifestInvalid(f"{where} has no valid platform")
    return platform


def _is_storable(value: object) -> bool:
    """Whether jsonb can hold it: no NUL, no half of a surrogate pair, no number beyond a float's range (such as
    1e999)."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return False
    return "\\u0000" not in text and _HALF_OF_A_PAIR.search(text) is None


def _artifact_type(document: dict[str, Any]) -> str:
    stated = document.get("artifactType")
    if stated:
        if not isinstance(stated, str) or _MEDIA_TYPE.fullmatch(stated) is None:
            raise ManifestInvalid("artifactType is not a media type")
        return stated
    config = document.get("config")
    return str(config["mediaType"]) if isinstance(config, dict) else ""


def _annotations(document: dict[str, Any]) -> bytes | None:
    annotations = document.get("annotations")
    if not annotations:
        return None
    if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
        raise ManifestInvalid("annotations are strings by name")
    return json.dumps(annotations).encode()


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
    """The annotations that are text, whatever else is there: nothing is refused for them."""
    annotations = holder.get("annotations")
    if not isinstance(annotations, dict):
        return {}
    return {name: value for name, value in annotations.items() if isinstance(value, str)}
