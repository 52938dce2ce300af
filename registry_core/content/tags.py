"""Tags: moves and deletions, each recorded in the history."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db import connection

from registry_core.access import Cause
from registry_core.content.deletions import Kind, begin_deletion
from registry_core.content.errors import ManifestUnknown
from registry_core.content.events import TagCreated, TagDeleted
from registry_core.content.policies import policies
from registry_core.content.policy_contexts import Content, DeletePlan, TagContext
from registry_core.content.project_policies import lock_keys
from registry_core.content.repositories import RepositoryRef, changing, retried
from registry_core.database.statements import statements
from registry_core.digests import Digest
from registry_core.errors import AlreadyExists
from registry_core.events.outbox import emit

_HISTORY = """
    INSERT INTO content_taghistory (repository_id, tag, old_digest, new_digest, subject_kind, subject_id, reason, at)
"""
# The time is read after the row is inserted: the statement may have begun before a concurrent delete of that name.
_MAKE = f"""
    WITH made AS (
        INSERT INTO content_tag (repository_id, name, artifact_id) VALUES (%s, %s, %s)
        ON CONFLICT (repository_id, name) WHERE deleted_at IS NULL DO NOTHING
        RETURNING repository_id, name, clock_timestamp() AS made_at
    )
    {_HISTORY} SELECT repository_id, name, NULL, %s, %s, %s, %s, made_at FROM made RETURNING id
"""  # noqa: S608 a constant


@dataclass(frozen=True, slots=True)
class TagMove:
    """A change of a tag: from which digest (None: it did not exist) to which (None: it was deleted)."""

    tag: str
    old: bytes | None
    new: bytes | None


def move_tag(*, repository: RepositoryRef, tag: str, artifact_id: int, content: Content, cause: Cause) -> TagMove:
    """Point a tag at an artifact and write its history, under the tag's row lock.

    Runs within the caller's transaction. Raises Refused by a policy.
    """
    digest = content.digest
    if _make(repository, tag, artifact_id, digest, cause):
        policies.ask(TagContext(cause, repository, tag, None, content))
        return TagMove(tag, None, digest.raw)
    held = _hold(repository, tag)
    if held is None:
        # The tag was deleted between the two statements, so its name is free.
        return move_tag(repository=repository, tag=tag, artifact_id=artifact_id, content=content, cause=cause)
    old = held.digest
    policies.ask(TagContext(cause, held.repository, tag, Digest(old), content))
    moved_at = _move(held.id, artifact_id)
    if old != digest.raw:
        with statements() as cursor:
            cursor.execute(
                f"{_HISTORY} VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                [repository.id, tag, old, digest.raw, *_who(cause), moved_at],
            )
    return TagMove(tag, old, digest.raw)


def _who(cause: Cause) -> tuple[int, int, str]:
    """The columns of the history for the subject and the reason."""
    return int(cause.subject.kind), cause.subject.id, cause.reason


def _make(repository: RepositoryRef, tag: str, artifact_id: int, digest: Digest, cause: Cause) -> bool:
    """Create a tag and write its history; False, with nothing done, if the name exists."""
    with statements() as cursor:
        cursor.execute(_MAKE, [repository.id, tag, artifact_id, digest.raw, *_who(cause)])
        return cursor.rowcount == 1


@dataclass(frozen=True, slots=True)
class _Held:
    """A locked tag: its id, the digest that it points at, and its repository with the policies that apply now."""

    id: int
    digest: bytes
    repository: RepositoryRef


def _hold(repository: RepositoryRef, tag: str) -> _Held | None:
    """Lock the tag, and which policies apply in the project (`project_policies.current_policies` within the two
    statements); None if there is no such tag. The subquery locks the tag before the project."""
    with statements() as cursor:
        cursor.execute(
            """
            SELECT id, artifact_id, pg_advisory_xact_lock_shared(%s, %s) FROM (
                SELECT id, artifact_id FROM content_tag
                WHERE repository_id = %s AND name = %s AND deleted_at IS NULL FOR UPDATE
            ) AS locked
            """,
            [*lock_keys(repository.project), repository.id, tag],
        )
        row = cursor.fetchone()
        if row is None:
            return None
        cursor.execute(
            """
            SELECT artifact.digest, project.policies FROM content_artifact AS artifact, content_project AS project
            WHERE artifact.id = %s AND project.id = %s
            """,
            [row[1], repository.project.id],
        )
        digest, applied = cursor.fetchall()[0]
        return _Held(row[0], bytes(digest), repository.governed_by(applied))


def _move(tag_id: int, artifact_id: int) -> dt.datetime:
    """Point a locked tag at an artifact; returns the time, which is later than that of its previous move whatever the
    clock says."""
    with statements() as cursor:
        cursor.execute(
            """
            UPDATE content_tag
            SET artifact_id = %s, pushed_at = greatest(clock_timestamp(), pushed_at + interval '1 microsecond')
            WHERE id = %s RETURNING pushed_at
            """,
            [artifact_id, tag_id],
        )
        moved_at: dt.datetime = cursor.fetchall()[0][0]
    return moved_at


@retried
def create_tag(*, repository: RepositoryRef, tag: str, digest: Digest, cause: Cause) -> None:
    """Create a tag of an artifact. The caller has checked the tag's grammar.

    Raises ManifestUnknown if the artifact is deleted, AlreadyExists if the repository has the tag, or Refused by a
    policy.
    """
    with changing(repository.key), connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, media_type, artifact_type, size_bytes FROM content_artifact
            WHERE repository_id = %s AND digest = %s AND deleted_at IS NULL FOR NO KEY UPDATE
            """,
            [repository.id, digest.raw],
        )
        row = cursor.fetchone()
        if row is None:
            raise ManifestUnknown(f"this repository has no manifest {digest}", {"digest": str(digest)})
        artifact_id, media_type, artifact_type, size_bytes = row
        if not _make(repository, tag, artifact_id, digest, cause):
            raise AlreadyExists(f"the repository already has a tag {tag}: push to move it")
        content = Content("manifest", digest, media_type, artifact_type, size_bytes, artifact_id)
        policies.ask(TagContext(cause, repository, tag, None, content))
        emit(
            TagCreated(tag=tag, digest=str(digest), reason=cause.reason),
            cause=cause,
            project_id=repository.project.id,
            repository_id=repository.id,
            changed=[repository.key],
        )


@retried
def delete_tag(*, repository: RepositoryRef, tag: str, cause: Cause) -> None:
    """Delete a tag; its artifact stays. Raises ManifestUnknown if there is no such tag, or Refused by a policy."""
    with changing(repository.key):
        held = _hold(repository, tag)
        if held is None:
            raise ManifestUnknown(f"this repository has no tag {tag}", {"tag": tag})
        now = held.repository
        policies.ask(DeletePlan(cause, now.project, now, "tag", tags={tag: Digest(held.digest)}))
        deletion_id = begin_deletion(
            project=repository.project, repository=repository, kind=Kind.TAG, name=tag, cause=cause
        )
        tombstone_tags(repository=repository, tag_ids=[held.id], deletion_id=deletion_id, cause=cause)
        emit(
            TagDeleted(tag=tag, deletion=deletion_id),
            cause=cause,
            project_id=repository.project.id,
            repository_id=repository.id,
            changed=[repository.key],
        )


def tombstone_tags(*, repository: RepositoryRef, tag_ids: list[int], deletion_id: int, cause: Cause) -> None:
    """Make tags tombstones of a deletion and write their history. Runs within the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH buried AS (
                UPDATE content_tag AS tag
                SET deletion_id = %s, deleted_at = greatest(clock_timestamp(), tag.pushed_at + interval '1 microsecond')
                FROM content_artifact AS artifact
                WHERE tag.id = ANY(%s) AND tag.deleted_at IS NULL AND artifact.id = tag.artifact_id
                RETURNING tag.name, artifact.digest, tag.deleted_at
            )
            INSERT INTO content_taghistory (repository_id, tag, old_digest, new_digest, subject_kind, subject_id,
            reason, at)
            SELECT %s, name, digest, NULL, %s, %s, %s, deleted_at FROM buried
            """,
            [deletion_id, tag_ids, repository.id, *_who(cause)],
        )
