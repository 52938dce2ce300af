"""Descriptions of artifacts: the kind, and what lists show of it, derived from the manifest and its config.

A description belongs to the manifest's bytes and is stored with them, so that no list reads a blob. If the config could
not be read at the push, the description is added later by `describe_more`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection

from registry_core.content.errors import ManifestInvalid
from registry_core.content.models import Artifact, Blob
from registry_core.content.parsing import (
    INDEXES,
    OCI_MANIFEST,
    Descriptor,
    ParsedManifest,
    Role,
    parse_manifest,
)
from registry_core.content.repositories import RepositoryRef
from registry_core.database.statements import statements
from registry_core.digests import Digest
from registry_core.json_limits import excess
from registry_core.storage.interface import StorageError
from registry_core.storage.stores import store_named

IMAGE: Final = "IMAGE"
CHART: Final = "CHART"
CNAB: Final = "CNAB"
SBOM: Final = "SBOM"
WASM: Final = "WASM"
MODEL: Final = "CNAI"
UNKNOWN: Final = "UNKNOWN"

CONFIG_MAX_BYTES: Final = 4 << 20
ATTRS_MAX_BYTES: Final = 64 << 10
_KINDS: Final = {
    "application/vnd.oci.image.config.v1+json": IMAGE,
    "application/vnd.docker.container.image.v1+json": IMAGE,
    "application/vnd.cncf.helm.config.v1+json": CHART,
    "application/vnd.cnab.manifest.v1": CNAB,
    "application/vnd.goharbor.harbor.sbom.v1": SBOM,
    "application/vnd.wasm.config.v1+json": WASM,
    "application/vnd.wasm.config.v0+json": WASM,
    "application/vnd.cncf.model.config.v1+json": MODEL,
    "application/vnd.cncf.model.manifest.v1+json": MODEL,
}
_TELLING: Final = frozenset({IMAGE, CHART, MODEL, WASM})
_MIDDLE: Final = re.compile(r"application/vnd\.[^./]+\.(.+?)\.config\..+")
_INDEX_TYPE: Final = "org.opencontainers.artifactType"
_WASM_IMAGE: Final = re.compile(rb'"module\.wasm\.image/variant"|"run\.oci\.handler": "wasm"')
_IMAGE_ATTRS: Final = ("architecture", "author", "config", "created", "os", "variant")

_COSIGN_TYPES: Final = frozenset(
    {"application/vnd.dev.cosign.artifact.sig.v1+json", "application/vnd.dev.sigstore.bundle.v0.3+json"}
)
_SUBJECT_KINDS: Final = {
    "application/vnd.cncf.notary.signature": Artifact.Accessory.NOTATION,
    "application/vnd.goharbor.harbor.sbom.v1": Artifact.Accessory.SBOM,
} | dict.fromkeys(_COSIGN_TYPES, Artifact.Accessory.COSIGN)
COSIGN_SUFFIXES: Final = ("sig", "att", "sbom")
_COSIGN_TAG: Final = re.compile(rf"sha256-([0-9a-f]{{64}})\.({'|'.join(COSIGN_SUFFIXES)})")
ACCESSORY_TAG: Final = f"^{_COSIGN_TAG.pattern}$"
"""Matches the tags for which `accessory_by_tag` names a subject, as a condition in the database."""


@dataclass(frozen=True, slots=True)
class Description:
    """What lists show of a manifest, in the order of its columns. `extra_attrs` is JSON."""

    kind: str
    config_type: str
    extra_attrs: bytes | None
    icon: bytes | None


@dataclass(frozen=True, slots=True)
class About:
    """The artifact of which this one is an accessory."""

    subject: Digest
    kind: Artifact.Accessory


def described(repository: RepositoryRef, manifest: ParsedManifest) -> Description | None:
    """The description of a manifest that is being put; None if it is already stored, or if its config cannot be read
    now."""
    if not has_telling_config(manifest):
        return describe(manifest, None)
    config = _read_config(_LINKED_CONFIG, manifest, [repository.id, manifest.digest.raw])
    return None if config is None else describe(manifest, config)


def describe(manifest: ParsedManifest, config: bytes | None) -> Description:
    """The description from a manifest and the bytes of its config; a config that is not a JSON object, or exceeds the
    parser's limits, is ignored."""
    kind = kind_of(manifest)
    attrs = None if config is None else _attributes(kind, config)
    icon = manifest.icon.raw if manifest.icon else None
    config_type = manifest.config.media_type if manifest.config else ""
    return Description(kind, config_type, attrs, icon)


def kind_of(manifest: ParsedManifest) -> str:
    """IMAGE, CHART, CNAB, SBOM, WASM, CNAI, the middle part of the config's media type, or UNKNOWN."""
    config = manifest.config
    if config is None:
        return _kind_without_config(manifest)
    if _KINDS.get(config.media_type) == IMAGE and _WASM_IMAGE.search(manifest.annotations or b""):
        return WASM
    return _kind_of_type(config.media_type) or _kind_of_type(manifest.artifact_type) or UNKNOWN


def accessory(manifest: ParsedManifest, tags: tuple[str, ...]) -> About | None:
    """The subject of an accessory: from the subject field, the nydus annotation, or the tags of the push.

    A manifest is never an accessory of itself, whatever its tag says: no list would show it.
    """
    if manifest.subject is not None:
        kind = _SUBJECT_KINDS.get(manifest.artifact_type, Artifact.Accessory.OTHER)
        return About(manifest.subject, kind)
    if manifest.accelerates is not None:
        return About(manifest.accelerates, Artifact.Accessory.NYDUS)
    by_tag = [accessory_by_tag(tag) for tag in tags]
    about = by_tag[0] if all(by_tag) and by_tag else None
    return about if about is not None and about.subject != manifest.digest else None


def accessory_by_tag(tag: str) -> About | None:
    """The subject named by cosign's tag scheme `sha256-<hex>.sig`, `.att`, `.sbom`."""
    found = _COSIGN_TAG.fullmatch(tag)
    if found is None:
        return None
    kind = Artifact.Accessory.COSIGN if found[2] == "sig" else Artifact.Accessory.OTHER
    return About(Digest.parse(f"sha256:{found[1]}"), kind)


def describe_more(*, limit: int) -> int:
    """Describe up to `limit` manifests that have no description yet; returns their number."""
    with connection.cursor() as cursor:
        cursor.execute(_UNDESCRIBED, [OCI_MANIFEST, limit])
        rows = cursor.fetchall()
    for manifest_id, content, media_type in rows:
        _store(manifest_id, _of_stored(bytes(content), media_type))
    return len(rows)


_LINKED_CONFIG = """
    SELECT blob.store, blob.storage_key FROM content_blob AS blob
    JOIN content_repositoryblob AS link ON link.blob_id = blob.id
    WHERE blob.digest = %s AND blob.state = %s AND blob.size_bytes <= %s AND link.repository_id = %s
      AND NOT EXISTS (SELECT 1 FROM content_manifest WHERE digest = %s AND kind <> '')
"""
# Only a config that was pushed with an artifact of this very manifest is read.
_USED_CONFIG = """
    SELECT blob.store, blob.storage_key FROM content_blob AS blob
    WHERE blob.digest = %s AND blob.state = %s AND blob.size_bytes <= %s AND EXISTS (
        SELECT 1 FROM content_artifactblob AS used JOIN content_artifact AS artifact ON artifact.id = used.artifact_id
        JOIN content_manifest AS manifest ON manifest.id = artifact.manifest_id
        WHERE used.blob_id = blob.id AND manifest.digest = %s)
"""
_UNDESCRIBED = """
    SELECT id, content, coalesce((SELECT media_type FROM content_artifact WHERE manifest_id = manifest.id LIMIT 1), %s)
    FROM content_manifest AS manifest WHERE kind = '' ORDER BY id LIMIT %s
"""


def _of_stored(content: bytes, media_type: str) -> Description:
    try:
        manifest = parse_manifest(content, content_type=media_type)
    except ManifestInvalid:
        return Description(UNKNOWN, "", None, None)
    config = _read_config(_USED_CONFIG, manifest, [manifest.digest.raw]) if has_telling_config(manifest) else None
    return describe(manifest, config)


def _store(manifest_id: int, description: Description) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE content_manifest SET kind = %s, config_type = %s, extra_attrs = %s, icon = %s
            WHERE id = %s AND kind = ''
            """,
            [description.kind, description.config_type, description.extra_attrs, description.icon, manifest_id],
        )


def has_telling_config(manifest: ParsedManifest) -> bool:
    """Whether the manifest has a config that adds to its description and is small enough to be read."""
    return manifest.config is not None and kind_of(manifest) in _TELLING and _is_small(manifest.config)


def _is_small(config: Descriptor) -> bool:
    return config.size_bytes <= CONFIG_MAX_BYTES


def _read_config(statement: str, manifest: ParsedManifest, values: list[Any]) -> bytes | None:
    """The config's bytes; None if it is missing, too large, or cannot be read from the store."""
    if manifest.config is None:
        return None
    with statements() as cursor:
        cursor.execute(statement, [manifest.config.digest.raw, Blob.State.LIVE, CONFIG_MAX_BYTES, *values])
        row = cursor.fetchone()
    try:
        return None if row is None else b"".join(store_named(row[0]).read(row[1], end=CONFIG_MAX_BYTES))
    except StorageError:
        return None


def _attributes(kind: str, config: bytes) -> bytes | None:
    if excess(config):
        return None
    try:
        document = json.loads(config)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    if kind in {IMAGE, WASM}:
        document = {name: document[name] for name in _IMAGE_ATTRS if document.get(name) is not None}
    return _bounded(document)


def _bounded(document: dict[str, Any]) -> bytes | None:
    """The attributes as JSON, without those that by themselves make it too long."""
    encoded = _json(document)
    if encoded is not None and len(encoded) <= ATTRS_MAX_BYTES:
        return encoded
    small = {name: value for name, value in document.items() if len(_json(value) or b"") <= ATTRS_MAX_BYTES // 64}
    encoded = _json(small)
    return encoded if encoded is not None and len(encoded) <= ATTRS_MAX_BYTES else None


def _json(value: Any) -> bytes | None:
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        return None


def _kind_without_config(manifest: ParsedManifest) -> str:
    annotations = json.loads(manifest.annotations) if manifest.annotations else {}
    if _KINDS.get(str(annotations.get(_INDEX_TYPE))) == CNAB or "io.cnab.runtime_version" in annotations:
        return CNAB
    is_index = manifest.media_type in INDEXES or any(d.role == Role.MANIFEST for d in manifest.descriptors)
    return _kind_of_type(manifest.artifact_type) or (IMAGE if is_index else UNKNOWN)


def _kind_of_type(media_type: str) -> str:
    if known := _KINDS.get(media_type):
        return known
    found = _MIDDLE.fullmatch(media_type)
    return found[1].upper()[:255] if found else ""
