"""Copying an artifact to another repository: the same operations, hooks and quota as a push of it.

Children come before the index that refers to them, accessories after what they are about; each manifest is one
transaction, so that an interrupted copy leaves whole artifacts and can be made again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django.db.models import QuerySet

from registry_core.access import Subject
from registry_core.content.blobs import mount_blob
from registry_core.content.descriptions import accessory_by_tag
from registry_core.content.manifests import put_manifest
from registry_core.content.models import Artifact, ManifestDescriptor, Tag
from registry_core.content.parsing import ParsedManifest, Role, parse_manifest
from registry_core.content.repositories import ProjectRef, RepositoryRef, ensure_repository
from registry_core.digests import Digest
from registry_core.errors import InvalidInput
from registry_core.names import RepositoryName

_SOURCE: Final = re.compile(r"([^:@]+)(?::([^:@]+)|@(.+))")
REASON: Final = "copy"
DEPTH_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be copied: the repository's full name, and a tag or digest in it."""

    name: RepositoryName
    reference: str


def parse_source(text: str) -> Source:
    """`project/repository:tag` or `project/repository@digest`. Raises InvalidInput or InvalidName."""
    found = _SOURCE.fullmatch(text)
    if found is None:
        raise InvalidInput("from is project/repository:tag or project/repository@digest")
    return Source(RepositoryName.parse(found[1]), found[2] or found[3])


def copy_artifact(
    *, source: RepositoryRef, artifact: Artifact, project: ProjectRef, name: RepositoryName, by: Subject, client: str
) -> Digest:
    """Copy an artifact of `source` with its tags, children and accessories to the repository `name` of a project.

    What the target has already stays as it is, and gets the tags that it lacks: a copy can be made again. The caller
    may pull from the one and push to the other. Raises Refused by a hook, QuotaExceeded, ReferenceMissing when the
    source is deleted meanwhile, or InvalidInput when it is nested too deeply.
    """
    target = ensure_repository(project=project, name=name)
    for each in _in_order(source, artifact):
        tags = _tags_of(each, is_root=each.pk == artifact.pk)
        if not _has(target, each, tags):
            _copy(source, target, each, tags, by, client)
    return Digest(bytes(artifact.digest))


def _in_order(source: RepositoryRef, root: Artifact) -> Iterator[Artifact]:
    """The artifact and all that goes with it, each once, what is referred to before what refers to it."""
    seen: set[int] = set()

    def walk(artifact: Artifact, depth: int) -> Iterator[Artifact]:
        if artifact.pk in seen:
            return
        if depth > DEPTH_MAX:
            raise InvalidInput(
                f"what is nested more than {DEPTH_MAX} levels deep is not copied: copy the inner ones first"
            )
        seen.add(artifact.pk)
        for child in _children(source, artifact):
            yield from walk(child, depth + 1)
        yield artifact
        for accessory in _living(source).filter(accessory_of=bytes(artifact.digest)):
            yield from walk(accessory, depth + 1)

    yield from walk(root, 1)


def _children(source: RepositoryRef, artifact: Artifact) -> list[Artifact]:
    wanted = ManifestDescriptor.objects.filter(manifest_id=artifact.manifest_id, role=Role.MANIFEST)
    digests = [bytes(digest) for digest in wanted.values_list("digest", flat=True)]
    return list(_living(source).filter(digest__in=digests)) if digests else []


def _living(repository: RepositoryRef) -> QuerySet[Artifact]:
    return Artifact.objects.filter(repository_id=repository.id, deleted_at=None).order_by("pk")


def _has(repository: RepositoryRef, artifact: Artifact, tags: list[str]) -> bool:
    """Whether the repository has the artifact, under all of these tags."""
    found = _living(repository).filter(digest=bytes(artifact.digest)).first()
    if found is None:
        return False
    return Tag.objects.filter(artifact=found, name__in=tags, deleted_at=None).count() == len(tags)


def _tags_of(artifact: Artifact, *, is_root: bool) -> list[str]:
    """The tags that come along: all of the artifact itself, of others those alone that make them accessories."""
    names = Tag.objects.filter(artifact=artifact, deleted_at=None).values_list("name", flat=True)
    return [name for name in names if is_root or accessory_by_tag(name)]


def _copy(
    source: RepositoryRef, target: RepositoryRef, artifact: Artifact, tags: list[str], by: Subject, client: str
) -> None:
    digest = Digest(bytes(artifact.digest))
    manifest = parse_manifest(
        bytes(artifact.manifest.content), content_type=artifact.media_type, algorithm=digest.algorithm
    )
    for blob in _blobs(manifest):
        mount_blob(repository=target, digest=blob, source_id=source.id, readable_projects=None, by=by, client=client)
    put_manifest(repository=target, manifest=manifest, tags=tags, by=by, client=client, reason=REASON)


def _blobs(manifest: ParsedManifest) -> list[Digest]:
    return list(dict.fromkeys(d.digest for d in manifest.descriptors if d.role != Role.MANIFEST))
