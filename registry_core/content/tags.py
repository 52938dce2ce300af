"""Tags: moved, deleted, and every move written down."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db import connection

from registry_core.access import Subject
from registry_core.content.deletions import begin_deletion
from registry_core.content.errors import ManifestUnknown
from registry_core.content.repositories import RepositoryRef, changing, retried
from registry_core.digests import Digest
from registry_core.distribution.hooks import DeleteContext, TagContext, hooks
from registry_core.errors import AlreadyExists
from registry_core.events.outbox import emit

_HISTORY = """
    INSERT INTO content_taghistory (repository_id, tag, old_digest, new_digest, subject_kind, subject_id, reason, at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""


@dataclass(frozen=True, slots=True)
class TagMove:
    """What happened to a tag: from which digest (None: it was not there) to which (None: it is gone)."""

    tag: str
    old: bytes | None
    new: bytes | None


def move_tag(
    *, repository: RepositoryRef, tag: str, artifact_id: int, digest: Digest, by: Subject, reason: str
) -> TagMove:
    """Point a tag at an artifact and write its history, under the tag's row lock.

    Runs within the caller's transaction. Raises Refused by a hook.
    """
    made_at = _make(repository, tag, artifact_id)
    held = None if made_at else _hold(repository, tag)
    if made_at is None and held is None:
        # The tag was deleted between the two statements: its name is free now.
        return move_tag(repository=repository, tag=tag, artifact_id=artifact_id, digest=digest, by=by, reason=reason)
    old = held[1] if held else None
    hooks.before_tag(TagContext(by, repository, tag, Digest(old) if old else None, digest, reason))
    moved_at = made_at if held is None else _move(held[0], artifact_id)
    if old != digest.raw:
        with connection.cursor() as cursor:
            cursor.execute(_HISTORY, [repository.id, tag, old, digest.raw, int(by.kind), by.id, reason, moved_at])
    return TagMove(tag, old, digest.raw)


def _make(repository: RepositoryRef, tag: str, artifact_id: int) -> dt.datetime | None:
    """When the new tag was made; None when there is one of that name.

    The time is read after the row is in: the statement may have begun before a delete of that name that it met.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO content_tag (repository_id, name, artifact_id) VALUES (%s, %s, %s)
            ON CONFLICT (repository_id, name) WHERE deleted_at IS NULL DO NOTHING RETURNING clock_timestamp()
            """,
            [repository.id, tag, artifact_id],
        )
        row = cursor.fetchone()
    return row[0] if row else None


def _hold(repository: RepositoryRef, tag: str) -> tuple[int, bytes] | None:
    """Lock the tag; its id and the digest that it points at."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, artifact_id FROM content_tag
            WHERE repository_id = %s AND name = %s AND deleted_at IS NULL FOR UPDATE
            """,
            [repository.id, tag],
        )
        row = cursor.fetchone()
        if row is None:
            return None
        cursor.execute("SELECT digest FROM content_artifact WHERE id = %s", [row[1]])
        return row[0], bytes(cursor.fetchone()[0])


def _move(tag_id: int, artifact_id: int) -> dt.datetime:
    """Point a locked tag at an artifact; when, later than it was moved before whatever the clock says."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE content_tag
            SET artifact_id = %s, pushed_at = greatest(clock_timestamp(), pushed_at + interval '1 microsecond')
            WHERE id = %s RETURNING pushed_at
            """,
            [artifact_id, tag_id],
        )
        moved_at: dt.datetime = cursor.fetchone()[0]
    return moved_at


@retried
def create_tag(*, repository: RepositoryRef, tag: str, digest: Digest, by: Subject, reason: str = "client") -> None:
    """Make a new tag of an artifact. The tag's grammar was checked before.

    Raises ManifestUnknown when the artifact is gone, AlreadyExists when the repository has the tag, or Refused by a
    hook.
    """
    with changing(repository.key), connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id FROM content_artifact
            WHERE repository_id = %s AND digest = %s AND deleted_at IS NULL FOR NO KEY UPDATE
            """,
            [repository.id, digest.raw],
        )
        row = cursor.fetchone()
        if row is None:
            raise ManifestUnknown(f"this repository has no manifest {digest}", {"digest": str(digest)})
        made_at = _make(repository, tag, row[0])
        if made_at is None:
            raise AlreadyExists(f"the repository has a tag {tag} already: push to move it")
        hooks.before_tag(TagContext(by, repository, tag, None, digest, reason))
        cursor.execute(_HISTORY, [repository.id, tag, None, digest.raw, int(by.kind), by.id, reason, made_at])
        emit(
            kind="tag.created",
            subject=by,
            project_id=repository.project.id,
            repository_id=repository.id,
            payload={"tag": tag, "digest": str(digest), "reason": reason},
            changed=[repository.key],
        )


@retried
def delete_tag(*, repository: RepositoryRef, tag: str, by: Subject, client: str = "", reason: str = "client") -> None:
    """Delete a tag; its artifact stays. Raises ManifestUnknown when there is no such tag, or Refused by a hook."""
    with changing(repository.key), connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM content_tag WHERE repository_id = %s AND name = %s AND deleted_at IS NULL FOR UPDATE",
            [repository.id, tag],
        )
        row = cursor.fetchone()
        if row is None:
            raise ManifestUnknown(f"this repository has no tag {tag}", {"tag": tag})
        hooks.before_delete(DeleteContext(by, client, repository, None, tag, reason))
        deletion_id = begin_deletion(repository=repository, by=by, reason=reason)
        bury_tags(repository=repository, tag_ids=[row[0]], deletion_id=deletion_id, by=by, reason=reason)
        emit(
            kind="tag.deleted",
            subject=by,
            project_id=repository.project.id,
            repository_id=repository.id,
            payload={"tag": tag, "deletion": deletion_id},
            changed=[repository.key],
        )


def bury_tags(*, repository: RepositoryRef, tag_ids: list[int], deletion_id: int, by: Subject, reason: str) -> None:
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
            [deletion_id, tag_ids, repository.id, int(by.kind), by.id, reason],
        )
