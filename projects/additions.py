"""Additions to an artifact: an image's history, the files of a chart or a model.

They are read from blobs on request, never for a list, and only from blobs of the same repository. The content is
untrusted, so it is parsed in the sandbox, not here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from django.db import connection
from django.db.models import QuerySet

from projects.readers import CHART_FILES, DEPENDENCIES, DOCUMENT, HISTORY, MODEL_DOCUMENTS, MODEL_FILES, TEXT
from registry_core.access import Cause
from registry_core.content.descriptions import CHART, IMAGE, MODEL
from registry_core.content.models import Artifact, Blob, ManifestDescriptor
from registry_core.content.policy_contexts import PullContext, artifact_content, blob_content
from registry_core.content.repositories import RepositoryRef
from registry_core.content.verdicts import before_pull
from registry_core.digests import Digest, DigestError
from registry_core.errors import InvalidInput, NotFound
from registry_core.sandbox.reading import Source, read, source_in
from registry_core.storage.stores import store_named

JSON: Final = "application/json; charset=utf-8"
PLAIN: Final = "text/plain; charset=utf-8"
MARKDOWN: Final = "text/markdown; charset=utf-8"
_CHART_LAYERS: Final = frozenset(
    {"application/vnd.cncf.helm.chart.content.v1.tar+gzip", "application/tar+gzip", "application/x-tar"}
)
_PACKED_DOCUMENT: Final = "application/vnd.cncf.model.doc.v1.tar"


@dataclass(frozen=True, slots=True)
class Addition:
    """A text and its media type."""

    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The addition that is requested of an artifact. `share` names whose share of the sandbox it uses."""

    repository: RepositoryRef
    artifact: Artifact
    cause: Cause
    share: str


def addition_of(
    *, repository: RepositoryRef, artifact: Artifact, tag: str, name: str, cause: Cause, share: str
) -> Addition:
    """An addition to an artifact of the repository. `tag` is the tag by which the artifact was named (empty: by
    digest), `share` the client whose share of the sandbox is used (see `registry_core.sandbox.places`).

    Raises InvalidInput if artifacts of this kind have no such addition, NotFound if this artifact has none, Refused if
    a policy forbids pulling the content, Unreadable, SandboxBusy or SandboxUnavailable.
    """
    kind = artifact.manifest.kind
    make = _ADDITIONS.get((kind, name))
    if make is None:
        raise InvalidInput(f"artifacts of the kind {kind or 'UNKNOWN'} have no addition {name[:40]!r}")
    before_pull(PullContext(cause, repository, artifact_content(artifact), tag, is_head=False))
    return make(_Wanted(repository, artifact, cause, share))


def _build_history(wanted: _Wanted) -> Addition:
    config = _descriptors(wanted).filter(role=ManifestDescriptor.Role.CONFIG).first()
    if config is None:
        raise NotFound("an index has no history of its own: look at its children")
    return Addition(read(HISTORY, _blob(wanted, Digest(bytes(config.digest))), share=wanted.share), JSON)


def _values(wanted: _Wanted) -> Addition:
    return Addition(_chart_file(wanted, "values.yaml"), PLAIN)


def _chart_readme(wanted: _Wanted) -> Addition:
    return Addition(_chart_file(wanted, "readme.md"), MARKDOWN)


def _dependencies(wanted: _Wanted) -> Addition:
    return Addition(json.dumps(read(DEPENDENCIES, _chart(wanted), share=wanted.share)).encode(), JSON)


def _chart_file(wanted: _Wanted, name: str) -> bytes:
    return read(CHART_FILES, _chart(wanted), share=wanted.share, names=[name]).get(name, "").encode()


def _chart(wanted: _Wanted) -> Source:
    layers = _descriptors(wanted).filter(role=ManifestDescriptor.Role.LAYER, media_type__in=_CHART_LAYERS)
    layer = layers.first()
    if layer is None:
        raise NotFound("this artifact has no layer that could contain it")
    return _blob(wanted, Digest(bytes(layer.digest)))


def _license(wanted: _Wanted) -> Addition:
    return Addition(_model_document(wanted, "license"), PLAIN)


def _model_readme(wanted: _Wanted) -> Addition:
    return Addition(_model_document(wanted, "readme"), MARKDOWN)


def _model_document(wanted: _Wanted, name: str) -> bytes:
    for media_type, digest in read(MODEL_DOCUMENTS, _manifest(wanted), share=wanted.share, name=name):
        content = _blob(wanted, _parsed(digest))
        if media_type.startswith(_PACKED_DOCUMENT):
            return read(DOCUMENT, content, share=wanted.share, name=name).encode()
        return read(TEXT, content, share=wanted.share).encode()
    raise NotFound("this artifact has no layer that could contain it")


def _files(wanted: _Wanted) -> Addition:
    """The tree of the model's files, as the annotations of its layers name them."""
    return Addition(read(MODEL_FILES, _manifest(wanted), share=wanted.share), JSON)


def _manifest(wanted: _Wanted) -> Source:
    return [bytes(wanted.artifact.manifest.content)]


_ADDITIONS: Final[dict[tuple[str, str], Callable[[_Wanted], Addition]]] = {
    (IMAGE, "build_history"): _build_history,
    (CHART, "values.yaml"): _values,
    (CHART, "readme.md"): _chart_readme,
    (CHART, "dependencies"): _dependencies,
    (MODEL, "license"): _license,
    (MODEL, "readme.md"): _model_readme,
    (MODEL, "files"): _files,
}


def _descriptors(wanted: _Wanted) -> QuerySet[ManifestDescriptor]:
    return ManifestDescriptor.objects.filter(manifest_id=wanted.artifact.manifest_id).order_by("ordinal")


def _parsed(digest: str) -> Digest:
    try:
        return Digest.parse(digest)
    except DigestError:
        raise NotFound("the manifest does not name a layer for it") from None


def _blob(wanted: _Wanted, digest: Digest) -> Source:
    """The content of a blob of the artifact's repository. Raises NotFound or Refused."""
    with connection.cursor() as cursor:
        cursor.execute(_BLOB, [digest.raw, Blob.State.LIVE, wanted.repository.id])
        row = cursor.fetchone()
    if row is None:
        raise NotFound(f"this repository has no blob {digest}")
    store, key, size_bytes = row
    before_pull(PullContext(wanted.cause, wanted.repository, blob_content(digest, size_bytes), "", is_head=False))
    return source_in(store_named(store), key)


_BLOB: Final = """
    SELECT blob.store, blob.storage_key, blob.size_bytes FROM content_blob AS blob
    JOIN content_repositoryblob AS link ON link.blob_id = blob.id
    WHERE blob.digest = %s AND blob.state = %s AND link.repository_id = %s
"""
