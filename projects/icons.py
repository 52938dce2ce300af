"""The pictures of artifacts: a built-in one for each kind, drawn here, and pictures that artifacts include.

An artifact's own picture is a small layer that its manifest names. It is shown to subjects that may pull the artifact,
if its bytes are a PNG, GIF or JPEG.
"""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from django.db import connection

from registry_core.access import Cause, authority
from registry_core.content.descriptions import CHART, CNAB, IMAGE, MODEL, SBOM, UNKNOWN, WASM
from registry_core.content.errors import Refused
from registry_core.content.models import Artifact, Blob
from registry_core.content.parsing import ICON_MAX_BYTES
from registry_core.content.policy_contexts import PullContext, blob_content
from registry_core.content.repositories import PROJECT_COLUMNS, repository_of
from registry_core.content.verdicts import before_pull
from registry_core.digests import Digest
from registry_core.errors import NotFound
from registry_core.storage.stores import store_named

SIDE: Final = 48
PLACES_MAX: Final = 20
"""The most repositories in which a picture is looked for if pull policies refuse it."""
_SIGNATURES: Final = {b"\x89PNG\r\n\x1a\n": "image/png", b"GIF87a": "image/gif", b"GIF89a": "image/gif",
                      b"\xff\xd8\xff": "image/jpeg"}  # fmt: skip
Shape = Callable[[int, int], bool]


@dataclass(frozen=True, slots=True)
class Icon:
    """A picture."""

    content: bytes
    media_type: str


def icon_digest(kind: str, own: bytes | None) -> str:
    """The digest of an artifact's picture: its own, or the one for its kind."""
    return str(Digest(bytes(own))) if own else _drawn_digests().get(kind, _drawn_digests()[UNKNOWN])


def accessory_icon_digest(kind: int) -> str:
    """The digest of the picture for a kind of accessory."""
    return _drawn_digests()[Artifact.Accessory(kind).label]


def find_icon(*, digest: Digest, cause: Cause) -> Icon:
    """The picture with that digest, if it is a built-in one or in a repository that the subject may pull from.

    Raises NotFound, also if the content is not a picture, or Refused if policies forbid pulling it from every one of
    them.
    """
    if drawn := _drawn().get(str(digest)):
        return drawn
    content = _own_icon(digest, cause)
    media_type = next((kind for signature, kind in _SIGNATURES.items() if content.startswith(signature)), "")
    if not media_type:
        raise NotFound(f"there is no icon {digest}")
    return Icon(content, media_type)


_STORED: Final = f"""
    SELECT blob.store, blob.storage_key, blob.size_bytes, repository.id, repository.name, {PROJECT_COLUMNS}
    FROM content_manifest AS manifest
    JOIN content_artifact AS artifact ON artifact.manifest_id = manifest.id AND artifact.deleted_at IS NULL
    JOIN content_repository AS repository ON repository.id = artifact.repository_id AND repository.deleted_at IS NULL
    JOIN content_project AS project ON project.id = repository.project_id
    JOIN content_blob AS blob ON blob.digest = manifest.icon AND blob.state = %s AND blob.size_bytes <= %s
    JOIN content_repositoryblob AS link ON link.blob_id = blob.id AND link.repository_id = artifact.repository_id
    WHERE manifest.icon = %s AND (%s::bigint[] IS NULL OR repository.project_id = ANY(%s)) LIMIT {PLACES_MAX}
"""  # noqa: S608 constants


def _own_icon(digest: Digest, cause: Cause) -> bytes:
    """The bytes, from the first repository whose policies allow pulling them; None if no repository has them. Raises
    Refused."""
    projects = authority().pullable_projects(cause.subject)
    with connection.cursor() as cursor:
        cursor.execute(_STORED, [Blob.State.LIVE, ICON_MAX_BYTES, digest.raw, projects, projects])
        rows = cursor.fetchall()
    refusal: Refused | None = None
    for store, key, size_bytes, *where in rows:
        try:
            before_pull(PullContext(cause, repository_of(where), blob_content(digest, size_bytes), "", is_head=False))
        except Refused as error:
            refusal = error
            continue
        return b"".join(store_named(store).read(key, end=ICON_MAX_BYTES))
    if refusal is not None:
        raise refusal
    return b""


def _box(x: int, y: int) -> bool:
    return max(abs(x), abs(y)) < 18 and (abs(x) > 14 or abs(y) > 14 or abs(y) % 9 < 3)


def _wheel(x: int, y: int) -> bool:
    distance = x * x + y * y
    return 144 < distance < 324 or distance < 25 or (distance < 400 and (abs(x) < 2 or abs(y) < 2))


def _stack(x: int, y: int) -> bool:
    return abs(x) < 18 and abs(y) < 18 and (y + 18) % 13 < 8


def _list(x: int, y: int) -> bool:
    return abs(x) < 15 and abs(y) < 19 and ((y + 19) % 8 < 4 or abs(x) > 12)


def _diamond(x: int, y: int) -> bool:
    return 8 < abs(x) + abs(y) < 20


def _net(x: int, y: int) -> bool:
    return abs(x) < 19 and abs(y) < 19 and (((x + 19) % 12 < 5 and (y + 19) % 12 < 5) or abs(abs(x) - abs(y)) < 2)


def _seal(x: int, y: int) -> bool:
    return x * x + (y + 5) ** 2 < 144 or (4 < abs(x) < 10 and 5 < y < 20)


def _bolt(x: int, y: int) -> bool:
    return abs(x + y // 2) < 5 and abs(y) < 19


def _ring(x: int, y: int) -> bool:
    return 196 < x * x + y * y < 361


_SHAPES: Final[Mapping[str, tuple[Shape, bytes]]] = {
    IMAGE: (_box, b"\x1c\x6d\xb2"),
    CHART: (_wheel, b"\x0f\x16\x89"),
    CNAB: (_stack, b"\x7a\x4a\x9c"),
    SBOM: (_list, b"\x2e\x7d\x32"),
    WASM: (_diamond, b"\x65\x4f\xf0"),
    MODEL: (_net, b"\xb3\x5a\x00"),
    UNKNOWN: (_ring, b"\x60\x68\x70"),
    Artifact.Accessory.COSIGN.label: (_seal, b"\x00\x6b\x5f"),
    Artifact.Accessory.NOTATION.label: (_seal, b"\x00\x5a\x9e"),
    Artifact.Accessory.SBOM.label: (_list, b"\x1b\x5e\x20"),
    Artifact.Accessory.NYDUS.label: (_bolt, b"\xc6\x28\x28"),
    Artifact.Accessory.OTHER.label: (_ring, b"\x45\x5a\x64"),
}


@functools.cache
def _drawn() -> dict[str, Icon]:
    return {str(Digest.of(content)): Icon(content, "image/png") for content in map(_png, _SHAPES)}


@functools.cache
def _drawn_digests() -> dict[str, str]:
    return {kind: str(Digest.of(_png(kind))) for kind in _SHAPES}


def _png(kind: str) -> bytes:
    """The shape of a kind in its colour on a transparent background, as PNG (RFC 2083): truecolour with alpha."""
    is_inside, color = _SHAPES[kind]
    half = SIDE // 2
    rows = (
        b"\x00" + b"".join(color + (b"\xff" if is_inside(x, y) else b"\x00") for x in range(-half, half))
        for y in range(-half, half)
    )
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 6, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows), 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
