"""Manifests: stored with their tags in one transaction, deleted as tombstones together with their accessories."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from registry_core.access import Cause
from registry_core.content.deletions import Kind, begin_deletion
from registry_core.content.descriptions import About, Description, accessory, described
from registry_core.content.errors import ContentInUse, ManifestUnknown, ReferenceMissing, RepositoryUnknown
from registry_core.content.events import ArtifactDeleted, ArtifactPushed
from registry_core.content.fresh_manifests import is_plain, store_fresh
from registry_core.content.links import GRACE, link, pay_for_manifest, unlink
from registry_core.content.models import Blob
from registry_core.content.parsing import Descriptor, ParsedManifest, Role
from registry_core.content.policies import policies
from registry_core.content.policy_contexts import Content, DeletePlan, Moment, PutContext, TagContext
from registry_core.content.project_policies import current_policies
from registry_core.content.put_statements import (
    INSERT_DESCRIPTORS,
    insert_artifact,
    insert_manifest,
    insert_uses,
    put_values,
)
from registry_core.content.read_only import check_writable
from registry_core.content.repositories import RepositoryRef, changing, retried
from registry_core.content.staged_quota import lease_returned
from registry_core.content.tags import move_tag, tombstone_tags
from registry_core.database.statements import statements
from registry_core.digests import Digest
from registry_core.events.outbox import emit
from registry_core.machine.state import generations


@dataclass(frozen=True, slots=True)
class PutResult:
    """The result of a put: the artifact, and the tags that point at it now.

    `media_type`: the type it is served as, which is the one of its first push to the repository.
    """

    artifact_id: int
    digest: Digest
    tags: tuple[str, ...]
    media_type: str


@lease_returned
@retried
def put_manifest(
    *,
    repository: RepositoryRef,
    manifest: ParsedManifest,
    tags: Iterable[str],
    cause: Cause,
) -> PutResult:
    """Store a manifest in a repository and point `tags` at it, all or nothing.

    Everything that it refers to must exist (except non-distributable layers and the subject) unless the project allows
    sparse manifests. Raises RepositoryUnknown, ReferenceMissing, QuotaExceeded, or Refused by a policy.
    """
    names = tuple(dict.fromkeys(tags))
    put = _Put(repository, manifest, described(repository, manifest), accessory(manifest, names), names, cause)
    artifact_id = _put_at_once(put)
    if artifact_id is not None:
        return PutResult(artifact_id, manifest.digest, names, manifest.media_type)
    artifact_id, media_type = _put_step_by_step(put)
    return PutResult(artifact_id, manifest.digest, names, media_type)


def ask_before_first(*, repository: RepositoryRef, manifest: ParsedManifest, tags: Iterable[str], cause: Cause) -> None:
    """Ask the policies that `put_manifest` asks, for a repository that is still empty. Raises Refused."""
    names, content = tuple(dict.fromkeys(tags)), content_of(manifest)
    policies.ask(PutContext(cause, repository, content, names))
    for tag in sorted(names):
        policies.ask(TagContext(cause, repository, tag, None, content))


def content_of(manifest: ParsedManifest, artifact_id: int | None = None) -> Content:
    """The manifest as policies see it."""
    return Content(
        "manifest", manifest.digest, manifest.media_type, manifest.artifact_type, manifest.size_bytes, artifact_id
    )


@dataclass(frozen=True, slots=True)
class _Put:
    """One put of a manifest into a repository."""

    repository: RepositoryRef
    manifest: ParsedManifest
    description: Description | None
    about: About | None
    tags: tuple[str, ...]
    cause: Cause


def _put_at_once(put: _Put) -> int | None:
    """The common case, by one statement: the artifact's id. None, with nothing done, for other manifests."""
    project = put.repository.project
    if put.about is not None or not is_plain(put.manifest) or policies.concerned(Moment.PUT, project):
        return None
    check_writable()
    if put.tags and policies.concerned_with_new_tags(project):
        return _put_and_ask(put)
    with generations().changing([put.repository.key]):
        return _store_fresh(put)


def _put_and_ask(put: _Put) -> int | None:
    """As `_put_at_once`, with policies that are asked about tags, under the locks of the new tags. Raises Refused."""
    with changing(put.repository.key):
        artifact_id = _store_fresh(put)
        if artifact_id is None:
            transaction.set_rollback(True)
            return None
        content = content_of(put.manifest, artifact_id)
        for tag in sorted(put.tags):
            policies.ask(TagContext(put.cause, put.repository, tag, None, content))
    return artifact_id


def _store_fresh(put: _Put) -> int | None:
    return store_fresh(
        repository=put.repository,
        manifest=put.manifest,
        description=put.description,
        tags=put.tags,
        cause=put.cause,
    )


def _put_step_by_step(put: _Put) -> tuple[int, str]:
    """The artifact's id, and its media type in the repository."""
    repository, manifest = put.repository, put.manifest
    with changing(repository.key):
        _hold(repository, manifest.digest)
        blob_ids = _hold_blobs(repository, manifest.descriptors)
        _hold_children(repository, manifest.descriptors)
        policies.ask(PutContext(put.cause, repository, content_of(manifest), put.tags))
        values = put_values(repository=repository, manifest=manifest, description=put.description, about=put.about)
        manifest_id = _store_manifest(manifest.digest, values)
        artifact_id, media_type, is_new = _store_artifact(values, manifest_id=manifest_id, blob_ids=blob_ids)
        content = content_of(manifest, artifact_id)
        for tag in sorted(put.tags):
            move_tag(repository=repository, tag=tag, artifact_id=artifact_id, content=content, cause=put.cause)
        _emit_pushed(put, artifact_id)
        if is_new:
            pay_for_manifest(
                project_id=repository.project.id,
                manifest_id=manifest_id,
                size_bytes=len(manifest.content),
                reason="push",
            )
    return artifact_id, media_type


def _emit_pushed(put: _Put, artifact_id: int) -> None:
    digest, tags = str(put.manifest.digest), list(put.tags)
    emit(
        ArtifactPushed(artifact=artifact_id, digest=digest, tags=tags, reason=put.cause.reason),
        cause=put.cause,
        project_id=put.repository.project.id,
        repository_id=put.repository.id,
        changed=[put.repository.key],
    )


# A delete locks the artifact before its links; a repeated put must use the same order.
_HOLD = """
    WITH repository AS (
        SELECT repository.id FROM content_repository AS repository
        JOIN content_project AS project ON project.id = repository.project_id AND project.deleted_at IS NULL
        WHERE repository.id = %s AND repository.deleted_at IS NULL FOR KEY SHARE OF repository, project
    ), artifact AS (
        SELECT id FROM content_artifact
        WHERE repository_id = (SELECT id FROM repository) AND digest = %s AND deleted_at IS NULL FOR NO KEY UPDATE
    )
    SELECT id, (SELECT count(*) FROM artifact) FROM repository
"""


def _hold(repository: RepositoryRef, digest: Digest) -> None:
    """Lock the repository against deletion, and the artifact if it exists."""
    with statements() as cursor:
        cursor.execute(_HOLD, [repository.id, digest.raw])
        if cursor.fetchone() is None:
            raise RepositoryUnknown(f"the repository {repository.name} was deleted")


_LINKED = """
    SELECT blob.digest, blob.id, blob.size_bytes FROM content_blob AS blob
    JOIN content_repositoryblob AS link ON link.blob_id = blob.id AND link.repository_id = %s
    WHERE blob.digest = ANY(%s) AND blob.state = %s ORDER BY blob.digest FOR KEY SHARE OF link
"""
# Between a client's HEAD and its manifest, a delete may have removed the last use of a blob, and the link with it. The
# blob is locked, so that it is not collected as garbage before it is linked again.
_LINKED_LATELY = f"""
    SELECT blob.digest, blob.id, blob.size_bytes FROM content_blob AS blob
    WHERE EXISTS (
        SELECT FROM content_artifactblob AS used JOIN content_artifact AS artifact ON artifact.id = used.artifact_id
        WHERE used.blob_id = blob.id AND used.repository_id = %s AND used.is_trashed
          AND artifact.deleted_at > now() - interval '{GRACE}')
      AND blob.digest = ANY(%s) AND blob.state = %s ORDER BY blob.digest FOR KEY SHARE
"""  # noqa: S608 the interval is a constant


def _hold_blobs(repository: RepositoryRef, descriptors: Iterable[Descriptor]) -> list[int]:
    """Lock the links of the blobs that the manifest uses, in digest order, against deletion; returns the blobs' ids."""
    wanted = {d.digest.raw: d for d in descriptors if d.role != Role.MANIFEST}
    found = _blobs(_LINKED, repository, list(wanted))
    missing = [raw for raw in wanted if raw not in found]
    if missing:
        lately = _blobs(_LINKED_LATELY, repository, missing)
        if lately:
            link(repository=repository, sizes_bytes=dict(lately.values()), reason="push")
        found |= lately
        _refuse_missing(repository, [wanted[raw] for raw in missing if raw not in found])
    return sorted(blob_id for blob_id, _ in found.values())


def _blobs(statement: str, repository: RepositoryRef, digests: list[bytes]) -> dict[bytes, tuple[int, int]]:
    with statements() as cursor:
        cursor.execute(statement, [repository.id, digests, Blob.State.LIVE])
        return {bytes(digest): (blob_id, size) for digest, blob_id, size in cursor.fetchall()}


def _refuse_missing(repository: RepositoryRef, descriptors: Iterable[Descriptor]) -> None:
    if repository.project.allows_sparse_manifests:
        return
    for descriptor in descriptors:
        if not descriptor.is_foreign:
            raise ReferenceMissing(descriptor.digest)


def _hold_children(repository: RepositoryRef, descriptors: Iterable[Descriptor]) -> None:
    """Lock the artifacts that an index refers to, in digest order, against deletion."""
    wanted = {d.digest.raw: d for d in descriptors if d.role == Role.MANIFEST}
    if not wanted:
        return
    with statements() as cursor:
        cursor.execute(
            """
            SELECT digest FROM content_artifact
            WHERE repository_id = %s AND digest = ANY(%s) AND deleted_at IS NULL ORDER BY digest FOR KEY SHARE
            """,
            [repository.id, list(wanted)],
        )
        found = {bytes(row[0]) for row in cursor.fetchall()}
    _refuse_missing(repository, [descriptor for raw, descriptor in wanted.items() if raw not in found])


_STORE_MANIFEST = f"""
    WITH manifest AS ({insert_manifest()} ON CONFLICT (digest) DO NOTHING RETURNING id),
    listed AS ({INSERT_DESCRIPTORS})
    SELECT id FROM manifest
"""  # noqa: S608 constants


def _store_manifest(digest: Digest, values: Mapping[str, Any]) -> int:
    row = None
    with statements() as cursor:
        while row is None:  # another time if the manifest was removed as garbage in between
            cursor.execute(_STORE_MANIFEST, values)
            row = cursor.fetchone()
            if row is None:
                cursor.execute("SELECT id FROM content_manifest WHERE digest = %s FOR KEY SHARE", [digest.raw])
                row = cursor.fetchone()
    return int(row[0])


# An artifact with a tag of its own does not become an accessory: a push cannot hide it or have it deleted that way. And
# it keeps its media type: otherwise a push that moves no tag would change the type that its tags are served as.
_STORE_ARTIFACT = f"""
    WITH artifact AS (
        {insert_artifact("%(manifest)s::bigint")}
        ON CONFLICT (repository_id, digest) WHERE deleted_at IS NULL
        DO UPDATE SET pushed_at = now(), (accessory_of, accessory_kind) = (
            SELECT excluded.accessory_of, excluded.accessory_kind
            WHERE content_artifact.accessory_of IS NULL AND excluded.accessory_of IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM content_tag WHERE artifact_id = content_artifact.id AND deleted_at IS NULL)
            UNION ALL SELECT content_artifact.accessory_of, content_artifact.accessory_kind LIMIT 1)
        RETURNING id, media_type, xmax = 0 AS is_new
    ), used AS (
        {insert_uses("blob_id", "unnest(%(blob_ids)s::bigint[]) AS blob_id")} ON CONFLICT DO NOTHING
    )
    SELECT id, media_type, is_new FROM artifact
"""  # noqa: S608 constants


def _store_artifact(values: Mapping[str, Any], *, manifest_id: int, blob_ids: list[int]) -> tuple[int, str, bool]:
    """The artifact's id, its media type, and whether it is new."""
    with statements() as cursor:
        cursor.execute(_STORE_ARTIFACT, {**values, "manifest": manifest_id, "blob_ids": blob_ids})
        artifact_id, media_type, is_new = cursor.fetchall()[0]
    return int(artifact_id), str(media_type), bool(is_new)


@retried
def delete_manifest(
    *, repository: RepositoryRef, digest: Digest, cause: Cause, unless: Callable[[set[str]], None] | None = None
) -> None:
    """Delete an artifact with its tags and its accessories (signatures, SBOMs), as one deletion.

    `unless` is called with the names of the artifact's tags under their locks, and may raise to keep it. Raises
    ManifestUnknown, ContentInUse while a living index refers to it, or Refused by a policy.
    """
    with changing(repository.key):
        artifacts = _with_referrers(repository, digest)
        tags = lock_tags(artifacts)
        if unless is not None:
            unless({tag.name for tag in tags if artifacts[tag.artifact_id] == digest.raw})
        ask_before_delete(repository, artifacts, tags, cause, about=digest)
        deletion_id = begin_deletion(
            project=repository.project, repository=repository, kind=Kind.ARTIFACT, name=str(digest), cause=cause
        )
        touched = tombstone_artifacts(repository, artifacts, tags, deletion_id, cause)
        _unlink_unused(repository, touched)
        emit(
            ArtifactDeleted(digest=str(digest), deletion=deletion_id, artifacts=sorted(artifacts), reason=cause.reason),
            cause=cause,
            project_id=repository.project.id,
            repository_id=repository.id,
            changed=[repository.key],
        )


def refuse_tagged(tags: Collection[str]) -> None:
    """For `unless`: an artifact that has a tag by now stays. Raises ContentInUse."""
    if tags:
        raise ContentInUse(f"the tag {min(tags)} points at it: delete the tag first", {"tag": min(tags)})


@dataclass(frozen=True, slots=True)
class LockedTag:
    """A living tag of an artifact that is being deleted."""

    id: int
    name: str
    artifact_id: int


def lock_tags(artifact_ids: Iterable[int]) -> list[LockedTag]:
    """Lock the living tags of locked artifacts, in the order of their names."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, name, artifact_id FROM content_tag
            WHERE artifact_id = ANY(%s) AND deleted_at IS NULL ORDER BY name FOR UPDATE
            """,
            [list(artifact_ids)],
        )
        return [LockedTag(*row) for row in cursor.fetchall()]


def ask_before_delete(
    repository: RepositoryRef,
    artifacts: Mapping[int, bytes],
    tags: Sequence[LockedTag],
    cause: Cause,
    *,
    about: Digest | None,
) -> None:
    """Ask the policies about everything that a delete removes, locked but not changed yet. `about`: the artifact that
    was named; None: the repository. Raises Refused."""
    repository = current_policies(repository)
    project = repository.project
    if not policies.concerned(Moment.DELETE, project):
        check_writable()
        return
    digests = {artifact_id: Digest(raw) for artifact_id, raw in artifacts.items()}
    plan = DeletePlan(
        cause,
        project,
        repository,
        "repository" if about is None else "artifact",
        artifacts=digests,
        accessories=frozenset(number for number, digest in digests.items() if about is not None and digest != about),
        tags={tag.name: digests[tag.artifact_id] for tag in tags},
        children=() if about is None else _children(artifacts),
    )
    policies.ask(plan)


def _children(artifacts: Mapping[int, bytes]) -> tuple[Digest, ...]:
    """The manifests that the artifacts refer to as indexes."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT entry.digest FROM content_manifestdescriptor AS entry
            JOIN content_artifact AS artifact ON artifact.manifest_id = entry.manifest_id
            WHERE entry.role = %s AND artifact.id = ANY(%s) ORDER BY entry.digest
            """,
            [Role.MANIFEST, list(artifacts)],
        )
        return tuple(Digest(bytes(row[0])) for row in cursor.fetchall())


def lock_artifacts(repository: RepositoryRef, condition: str, values: list[Any]) -> dict[int, bytes]:
    """Lock the living artifacts that meet a constant condition, in digest order; their digests by id."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT id, digest FROM content_artifact
            WHERE repository_id = %s AND deleted_at IS NULL AND {condition} ORDER BY digest FOR UPDATE
            """,  # noqa: S608 the conditions are constants
            [repository.id, *values],
        )
        return {artifact_id: bytes(raw) for artifact_id, raw in cursor.fetchall()}


def _with_referrers(repository: RepositoryRef, digest: Digest) -> dict[int, bytes]:
    """The artifact and, level by level, its referrers: what nothing else refers to is deleted with it.

    Raises ManifestUnknown or ContentInUse.
    """
    level = lock_artifacts(repository, "digest = %s", [digest.raw])
    if not level:
        raise ManifestUnknown(f"this repository has no manifest {digest}", {"digest": str(digest)})
    _refuse_if_child(repository, list(level.values()), raises=True)
    found: dict[int, bytes] = {}
    while level:
        found |= level
        digests = list(level.values())
        above = lock_artifacts(repository, "(subject_digest = ANY(%s) OR accessory_of = ANY(%s))", [digests, digests])
        held = _refuse_if_child(repository, list(above.values()), raises=False)
        level = {i: raw for i, raw in above.items() if i not in found and raw not in held}
    return found


def _refuse_if_child(repository: RepositoryRef, digests: list[bytes], *, raises: bool) -> set[bytes]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT entry.digest, parent.digest FROM content_manifestdescriptor AS entry
            JOIN content_artifact AS parent ON parent.manifest_id = entry.manifest_id
            WHERE entry.role = {Role.MANIFEST:d} AND entry.digest = ANY(%s) AND parent.repository_id = %s
              AND parent.deleted_at IS NULL
            """,  # noqa: S608 a constant: the index `descriptor_child` is only used with it
            [digests, repository.id],
        )
        rows = cursor.fetchall()
    if rows and raises:
        child, parent = Digest(bytes(rows[0][0])), Digest(bytes(rows[0][1]))
        raise ContentInUse(f"the index {parent} refers to {child}: delete the index first", {"index": str(parent)})
    return {bytes(child) for child, _ in rows}


@dataclass(frozen=True, slots=True)
class Tombstoned:
    """What tombstoned artifacts were: the manifest of each, and the blobs that they used (other artifacts may use them
    too)."""

    manifest_ids: list[int]
    blob_ids: list[int]


def tombstone_artifacts(
    repository: RepositoryRef, artifacts: Iterable[int], tags: Sequence[LockedTag], deletion_id: int, cause: Cause
) -> Tombstoned:
    """Make living artifacts and their tags, which are locked, tombstones of a deletion.

    Runs within the caller's transaction.
    """
    artifact_ids = sorted(artifacts)
    tombstone_tags(repository=repository, tag_ids=[tag.id for tag in tags], deletion_id=deletion_id, cause=cause)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE content_artifact SET deleted_at = clock_timestamp(), deletion_id = %s WHERE id = ANY(%s)
            RETURNING manifest_id
            """,
            [deletion_id, artifact_ids],
        )
        manifest_ids = [row[0] for row in cursor.fetchall()]
        cursor.execute(
            "UPDATE content_artifactblob SET is_trashed = true WHERE artifact_id = ANY(%s) RETURNING blob_id",
            [artifact_ids],
        )
        return Tombstoned(manifest_ids, sorted({row[0] for row in cursor.fetchall()}))


def _unlink_unused(repository: RepositoryRef, tombstoned: Tombstoned) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT link.blob_id FROM content_repositoryblob AS link
            WHERE link.repository_id = %s AND link.blob_id = ANY(%s) ORDER BY link.blob_id FOR UPDATE
            """,
            [repository.id, tombstoned.blob_ids],
        )
        locked = [row[0] for row in cursor.fetchall()]
        cursor.execute(
            """
            SELECT blob_id FROM content_artifactblob
            WHERE repository_id = %s AND blob_id = ANY(%s) AND NOT is_trashed
            """,
            [repository.id, locked],
        )
        used = {row[0] for row in cursor.fetchall()}
    unlink(
        repository_id=repository.id,
        project_id=repository.project.id,
        blob_ids=[blob_id for blob_id in locked if blob_id not in used],
        manifest_ids=tombstoned.manifest_ids,
        reason="delete",
    )
