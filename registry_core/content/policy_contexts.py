"""What a policy is asked about: one frozen context for each moment, with the cause and a description of the content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Literal

from registry_core.access import Cause
from registry_core.digests import Digest

if TYPE_CHECKING:
    from registry_core.content.models import Artifact
    from registry_core.content.repositories import ProjectRef, RepositoryRef


class Moment(StrEnum):
    """When a policy is asked."""

    PULL = "pull"
    UPLOAD = "upload"
    PUT = "put"
    TAG = "tag"
    MOUNT = "mount"
    DELETE = "delete"
    COPY = "copy"
    RESTORE = "restore"
    CREATE = "create"


@dataclass(frozen=True, slots=True)
class Content:
    """A manifest or a blob.

    `size_bytes`: for a manifest including everything that it refers to. A blob has no types and no artifact.
    `artifact_id` is None while the manifest is not stored.
    """

    kind: Literal["manifest", "blob"]
    digest: Digest
    media_type: str
    artifact_type: str
    size_bytes: int
    artifact_id: int | None


def artifact_content(artifact: Artifact) -> Content:
    """The manifest of a row, as policies see it."""
    digest = Digest(bytes(artifact.digest))
    return Content("manifest", digest, artifact.media_type, artifact.artifact_type, artifact.size_bytes, artifact.pk)


def blob_content(digest: Digest, size_bytes: int) -> Content:
    """A blob as policies see it."""
    return Content("blob", digest, "", "", size_bytes, None)


@dataclass(frozen=True, slots=True)
class _InRepository:
    cause: Cause
    repository: RepositoryRef

    @property
    def project(self) -> ProjectRef:
        return self.repository.project


@dataclass(frozen=True, slots=True)
class PullContext(_InRepository):
    """Content is about to be served, or read on behalf of a client. `tag` is empty if it was requested by digest.
    `is_head`: only its existence is requested, as clients do before they push."""

    moment: ClassVar[Moment] = Moment.PULL
    content: Content
    tag: str
    is_head: bool


@dataclass(frozen=True, slots=True)
class UploadContext(_InRepository):
    """A blob is about to be uploaded; its digest and its size in bytes are None if the client does not state them."""

    moment: ClassVar[Moment] = Moment.UPLOAD
    digest: Digest | None
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class MountContext(_InRepository):
    """A blob of the repository `source` is about to be linked."""

    moment: ClassVar[Moment] = Moment.MOUNT
    content: Content
    source: RepositoryRef


@dataclass(frozen=True, slots=True)
class PutContext(_InRepository):
    """A manifest is about to be stored, with these tags."""

    moment: ClassVar[Moment] = Moment.PUT
    content: Content
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TagContext(_InRepository):
    """A tag is about to be created (`old` is None) or moved to `content`."""

    moment: ClassVar[Moment] = Moment.TAG
    tag: str
    old: Digest | None
    content: Content


@dataclass(frozen=True, slots=True)
class CopyContext(_InRepository):
    """A manifest of the repository `source` is about to be copied into the repository, with these tags."""

    moment: ClassVar[Moment] = Moment.COPY
    source: RepositoryRef
    content: Content
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RestoreContext(_InRepository):
    """What one deletion removed is about to be restored: artifacts by id, and tags with what they pointed at."""

    moment: ClassVar[Moment] = Moment.RESTORE
    deletion_id: int
    artifacts: Mapping[int, Digest]
    tags: Mapping[str, Digest]


@dataclass(frozen=True, slots=True)
class CreateContext(_InRepository):
    """A repository is about to be created. Its row is in the transaction in which the policy is asked."""

    moment: ClassVar[Moment] = Moment.CREATE


@dataclass(frozen=True, slots=True)
class DeletePlan:
    """Everything that one delete removes, before anything is changed. Policies are asked once, however much it is.

    `whole`: what the client named. `repository` is None when a whole project is deleted. `artifacts` are those that are
    deleted, by id; `accessories` those among them that are deleted only because their subject is; `tags` all deleted
    tags with what they point at; `children` the manifests that a deleted index refers to and that stay. `blob`: for a
    blob alone.
    """

    moment: ClassVar[Moment] = Moment.DELETE
    cause: Cause
    project: ProjectRef
    repository: RepositoryRef | None
    whole: Literal["tag", "artifact", "blob", "repository", "project"]
    artifacts: Mapping[int, Digest] = field(default_factory=dict)
    accessories: frozenset[int] = frozenset()
    tags: Mapping[str, Digest] = field(default_factory=dict)
    children: tuple[Digest, ...] = ()
    blob: Digest | None = None


Context = (
    PullContext
    | UploadContext
    | MountContext
    | PutContext
    | TagContext
    | CopyContext
    | RestoreContext
    | CreateContext
    | DeletePlan
)
