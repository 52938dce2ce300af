"""Copying an artifact to another repository: the same operations, policies and quota as a push.

Children come before the index that refers to them, accessories after their subject. Each manifest is one transaction,
so an interrupted copy leaves whole artifacts and can be repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django.db.models import QuerySet

from registry_core.access import Cause
from registry_core.content.descriptions import accessory_by_tag
from registry_core.content.manifests import ask_before_first, content_of, put_manifest
from registry_core.content.models import Artifact, ManifestDescriptor, Tag
from registry_core.content.mounts import Wanted, mount_blob
from registry_core.content.parsing import Descriptor, ParsedManifest, Role, parse_manifest
from registry_core.content.policies import policies
from registry_core.content.policy_contexts import Content, CopyContext, Moment, MountContext, PullContext, blob_content
from registry_core.content.repositories import ProjectRef, RepositoryRef, ensure_repository
from registry_core.content.verdicts import before_pull
from registry_core.digests import Digest
from registry_core.errors import InvalidInput
from registry_core.names import RepositoryName

_SOURCE: Final = re.compile(r"([^:@]+)(?::([^:@]+)|@(.+))")
REASON: Final = "copy"
DEPTH_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Source:
    """The artifact to copy: the repository's full name, and a tag or digest in it."""

    name: RepositoryName
    reference: str


def parse_source(text: str) -> Source:
    """`project/repository:tag` or `project/repository@digest`. Raises InvalidInput or InvalidName."""
    found = _SOURCE.fullmatch(text)
    if found is None:
        raise InvalidInput("from is project/repository:tag or project/repository@digest")
    return Source(RepositoryName.parse(found[1]), found[2] or found[3])


@dataclass(frozen=True, slots=True)
class _Copy:
    """The copy of one manifest from one repository to another."""

    source: RepositoryRef
    artifact: Artifact
    tags: list[str]
    manifest: ParsedManifest
    cause: Cause

    @property
    def content(self) -> Content:
        """The manifest as policies see it in the source."""
        return content_of(self.manifest, self.artifact.pk)

    @property
    def blobs(self) -> list[Descriptor]:
        """The blobs that it refers to."""
        return [descriptor for descriptor in self.manifest.descriptors if descriptor.role != Role.MANIFEST]

    def is_in(self, target: RepositoryRef) -> bool:
        """Whether the target already has it, under all of these tags."""
        found = _living(target).filter(digest=bytes(self.artifact.digest)).first()
        if found is None:
            return False
        return Tag.objects.filter(artifact=found, name__in=self.tags, deleted_at=None).count() == len(self.tags)

    def ask_to_read(self) -> None:
        """Ask the policies whether the source may be read, as for a pull. Raises Refused."""
        tag = self.tags[0] if self.tags else ""
        before_pull(PullContext(self.cause, self.source, self.content, tag, is_head=False))
        for blob in self.blobs:
            content = blob_content(blob.digest, blob.size_bytes)
            before_pull(PullContext(self.cause, self.source, content, "", is_head=False))

    def ask_to_copy(self, target: RepositoryRef) -> None:
        """Ask the policies whether it may be copied to the target. Raises Refused."""
        policies.ask(CopyContext(self.cause, target, self.source, self.content, tuple(self.tags)))

    def ask_before_first(self, target: RepositoryRef) -> None:
        """Ask everything that is asked during the copy, for a target that is still empty. Raises Refused."""
        self.ask_to_copy(target)
        for blob in self.blobs:
            content = blob_content(blob.digest, blob.size_bytes)
            policies.ask(MountContext(self.cause, target, content, self.source))
        ask_before_first(repository=target, manifest=self.manifest, tags=self.tags, cause=self.cause)

    def make(self, target: RepositoryRef) -> None:
        """Copy it. Raises Refused, QuotaExceeded or ReferenceMissing."""
        for digest in dict.fromkeys(blob.digest for blob in self.blobs):
            mount_blob(repository=target, wanted=Wanted(digest, self.source.id, None), cause=self.cause)
        put_manifest(repository=target, manifest=self.manifest, tags=self.tags, cause=self.cause)


def copy_artifact(
    *, source: RepositoryRef, artifact: Artifact, project: ProjectRef, name: RepositoryName, cause: Cause
) -> Digest:
    """Copy an artifact of `source` with its tags, children and accessories to the repository `name` of a project.

    What the target already has stays as it is, and gets the tags that it lacks: a copy can be repeated. The caller must
    have been authorised to pull from the source and to push to the target. Policies are asked about everything before
    anything is copied. Raises Refused, QuotaExceeded, ReferenceMissing if the source is deleted meanwhile, or
    InvalidInput if it is nested too deeply.
    """

    def copies() -> Iterator[_Copy]:  # a generator: all manifests together may not fit into memory
        for each in _in_order(source, artifact):
            yield _copy_of(source, each, cause, is_root=each.pk == artifact.pk)

    def ask_before_first(target: RepositoryRef) -> None:
        for copy in copies():
            copy.ask_before_first(target)

    if policies.concerned(Moment.PULL, source.project):
        for copy in copies():
            copy.ask_to_read()
    target = ensure_repository(project=project, name=name, cause=cause, ask_for_content=ask_before_first)
    if policies.concerned(Moment.COPY, project):
        for copy in copies():
            if not copy.is_in(target):
                copy.ask_to_copy(target)
    for copy in copies():
        if not copy.is_in(target):
            copy.make(target)
    return Digest(bytes(artifact.digest))


def _copy_of(source: RepositoryRef, artifact: Artifact, cause: Cause, *, is_root: bool) -> _Copy:
    digest = Digest(bytes(artifact.digest))
    manifest = parse_manifest(
        bytes(artifact.manifest.content), content_type=artifact.media_type, algorithm=digest.algorithm
    )
    return _Copy(source, artifact, _tags_of(artifact, is_root=is_root), manifest, cause)


def _in_order(source: RepositoryRef, root: Artifact) -> Iterator[Artifact]:
    """The artifact and everything that goes with it, each once, referenced manifests before those that refer to
    them."""
    seen: set[int] = set()

    def walk(artifact: Artifact, depth: int) -> Iterator[Artifact]:
        if artifact.pk in seen:
            return
        if depth > DEPTH_MAX:
            raise InvalidInput(
                f"an artifact with more than {DEPTH_MAX} levels cannot be copied at once: copy the inner ones first"
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


def _tags_of(artifact: Artifact, *, is_root: bool) -> list[str]:
    """The tags to copy: all tags of the artifact itself; of the others only those that make them accessories."""
    names = Tag.objects.filter(artifact=artifact, deleted_at=None).values_list("name", flat=True)
    return [name for name in names if is_root or accessory_by_tag(name)]
