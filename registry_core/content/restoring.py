"""Restoring: undoes one delete, exactly, if what it needs is still free.

A restore is a change like a push: it takes the same locks, charges the quota again, and asks the policies, before
anything is changed. It begins with the lock of the deletion, which a purge takes too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from django.db import IntegrityError, connection
from psycopg.errors import UniqueViolation

from registry_core.access import Cause
from registry_core.content import quota
from registry_core.content.deletions import Kind, restorable
from registry_core.content.events import ArtifactRestored, RepositoryRestored, TagRestored
from registry_core.content.links import link
from registry_core.content.models import Blob, Deletion, Repository
from registry_core.content.parsing import Role
from registry_core.content.policies import policies
from registry_core.content.policy_contexts import RestoreContext
from registry_core.content.project_policies import current_policies
from registry_core.content.repositories import (
    CATALOG_KEY,
    RepositoryRef,
    changing,
    name_key,
    repository_key,
    repository_ref,
    retried,
)
from registry_core.content.staged_quota import lease_returned
from registry_core.digests import Digest
from registry_core.errors import AlreadyExists, NotFound, PreconditionFailed
from registry_core.events.outbox import emit

SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back."""

    kind: Deletion.Kind
    repository: RepositoryRef
    name: str
    artifacts: int
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Contents:
    """The tombstones of a deletion, locked: artifacts by id (digest, manifest), tags by id (name, artifact, digest)."""

    artifacts: dict[int, tuple[bytes, int]]
    tags: dict[int, tuple[str, int, bytes]]

    @property
    def digests(self) -> list[bytes]:
        return [digest for digest, _ in self.artifacts.values()]

    @property
    def names(self) -> list[str]:
        return sorted(name for name, _, _ in self.tags.values())


@lease_returned
@retried
def restore_deletion(*, repository: RepositoryRef, deletion_id: int, cause: Cause) -> Restored:
    """Restore what one delete removed in a repository: a tag, an artifact with what went along with it, or, for a
    deleted `repository`, all of it.

    Raises NotFound if it has expired, was purged or restored; AlreadyExists if a name or a digest is in use again;
    PreconditionFailed if something that it needs is deleted itself; QuotaExceeded; or Refused by a policy.
    """
    keys = [repository.key, name_key(str(repository.name)), CATALOG_KEY]
    try:
        with changing(*keys):
            return _restore(repository, deletion_id, keys, cause)
    except IntegrityError as error:
        if not isinstance(error.__cause__, UniqueViolation):
            raise
        raise AlreadyExists(
            f"something of this deletion was pushed to {repository.name} again just now: look at its tags and artifacts"
        ) from None


def repository_of_deletion(deletion: Deletion) -> RepositoryRef:
    """The repository that a deletion is about, deleted or not. Raises NotFound for that of a project."""
    rows = Repository.objects.select_related("project").filter(pk=deletion.repository_id or 0)
    found = rows.first()
    if found is None:
        raise NotFound(f"there is no deletion {deletion.pk} of content")
    return repository_ref(found)


def _restore(repository: RepositoryRef, deletion_id: int, keys: list[str], cause: Cause) -> Restored:
    deletion = _lock_deletion(repository, deletion_id)
    is_whole = _lock_repository(repository, deletion)
    contents = _lock_contents(deletion)
    if not (is_whole or contents.artifacts or contents.tags):
        raise NotFound(f"the deletion {deletion_id} cannot be restored: what it removed was purged with its artifact")
    _refuse_conflicts(repository, contents)
    blobs = _lock_blobs(contents)
    _require_children(repository, contents)
    policies.ask(
        RestoreContext(
            cause,
            current_policies(repository),
            deletion_id,
            artifacts={number: Digest(digest) for number, (digest, _) in contents.artifacts.items()},
            tags={name: Digest(digest) for name, _, digest in contents.tags.values()},
        )
    )
    if is_whole:
        Repository.objects.filter(pk=repository.id).update(deleted_at=None)
    _revive(contents)
    _write_history(repository, contents, cause)
    if blobs:
        link(repository=repository, sizes_bytes=blobs, reason="restore")
    _pay_for_manifests(repository, [manifest_id for _, manifest_id in contents.artifacts.values()])
    restored = Restored(
        Deletion.Kind(deletion.kind), repository, deletion.name, len(contents.artifacts), tuple(contents.names)
    )
    _emit(restored, deletion, contents, keys, cause, is_whole=is_whole)
    Deletion.objects.filter(pk=deletion_id).delete()
    return restored


def _lock_deletion(repository: RepositoryRef, deletion_id: int) -> Deletion:
    rows = restorable().select_for_update().filter(pk=deletion_id, repository_id=repository.id)
    found = rows.first()
    if found is None:
        raise NotFound(f"the deletion {deletion_id} cannot be restored: it has expired, was purged, or was restored")
    return found


def _lock_repository(repository: RepositoryRef, deletion: Deletion) -> bool:
    """Lock the repository and its project as a push does; returns whether the repository itself is restored, whose name
    is free then."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT repository.deleted_at IS NOT NULL, project.deleted_at IS NOT NULL
            FROM content_repository AS repository JOIN content_project AS project ON project.id = repository.project_id
            WHERE repository.id = %s FOR NO KEY UPDATE OF repository FOR KEY SHARE OF project
            """,
            [repository.id],
        )
        is_deleted, is_project_deleted = cursor.fetchall()[0]
    if is_project_deleted:
        raise PreconditionFailed(f"the project {repository.project.name} is deleted itself: restore it first")
    if is_deleted and not _is_of_repository(deletion):
        raise PreconditionFailed(f"the repository {repository.name} is deleted itself: restore it first")
    living = Repository.objects.filter(project_id=repository.project.id, name=repository.name.path, deleted_at=None)
    if is_deleted and living.exists():
        raise AlreadyExists(
            f"there is a repository {repository.name} again: delete it, or copy what you need to another one first"
        )
    return bool(is_deleted)


def _is_of_repository(deletion: Deletion) -> bool:
    """Whether the repository itself was deleted. Earlier releases did not note that: then it is the last deletion
    there."""
    later = Deletion.objects.filter(repository_id=deletion.repository_id or 0, pk__gt=deletion.pk)
    return deletion.kind == Kind.REPOSITORY or (deletion.kind == Kind.UNKNOWN and not later.exists())


def _lock_contents(deletion: Deletion) -> _Contents:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, digest, manifest_id FROM content_artifact WHERE deletion_id = %s AND deleted_at IS NOT NULL
            ORDER BY digest FOR UPDATE
            """,
            [deletion.pk],
        )
        artifacts = {number: (bytes(digest), manifest_id) for number, digest, manifest_id in cursor.fetchall()}
        cursor.execute(
            """
            SELECT tag.id, tag.name, tag.artifact_id, artifact.digest, artifact.deletion_id
            FROM content_tag AS tag JOIN content_artifact AS artifact ON artifact.id = tag.artifact_id
            WHERE tag.deletion_id = %s AND tag.deleted_at IS NOT NULL ORDER BY tag.name
            FOR UPDATE OF tag FOR NO KEY UPDATE OF artifact
            """,
            [deletion.pk],
        )
        rows = cursor.fetchall()
    for _, name, _, digest, in_deletion in rows:
        if in_deletion not in (None, deletion.pk):
            raise PreconditionFailed(
                f"the artifact {Digest(bytes(digest))} of the tag {name} is deleted itself: restore it first, which is "
                f"the deletion {in_deletion}"
            )
    return _Contents(artifacts, {row[0]: (row[1], row[2], bytes(row[3])) for row in rows})


def _refuse_conflicts(repository: RepositoryRef, contents: _Contents) -> None:
    """Raises AlreadyExists if a digest or a tag lives again."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT digest FROM content_artifact WHERE repository_id = %s AND digest = ANY(%s) AND deleted_at IS NULL",
            [repository.id, contents.digests],
        )
        digests = [str(Digest(bytes(row[0]))) for row in cursor.fetchall()]
        cursor.execute(
            "SELECT name FROM content_tag WHERE repository_id = %s AND name = ANY(%s) AND deleted_at IS NULL",
            [repository.id, contents.names],
        )
        names = [row[0] for row in cursor.fetchall()]
    if digests:
        raise AlreadyExists(
            f"{_some(digests)} was pushed to {repository.name} again: delete it first, or keep it and tag it"
        )
    if names:
        raise AlreadyExists(f"the tag {_some(names)} of {repository.name} is in use again: delete or move it first")


def _some(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(sorted(names)[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _lock_blobs(contents: _Contents) -> dict[int, int]:
    """Lock the blobs of the artifacts against being collected; their sizes by id."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, size_bytes FROM content_blob WHERE state <> %s AND id IN (
                SELECT blob_id FROM content_artifactblob WHERE artifact_id = ANY(%s)) ORDER BY id FOR KEY SHARE
            """,
            [Blob.State.DELETING, list(contents.artifacts)],
        )
        return dict(cursor.fetchall())


def _require_children(repository: RepositoryRef, contents: _Contents) -> None:
    """Lock what restored indexes list, in digest order. Raises PreconditionFailed if some of it is deleted itself."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT entry.digest FROM content_manifestdescriptor AS entry
            WHERE entry.role = %s AND entry.manifest_id = ANY(%s) AND entry.digest <> ALL(%s)
            """,
            [Role.MANIFEST, [manifest_id for _, manifest_id in contents.artifacts.values()], contents.digests],
        )
        wanted = {bytes(row[0]) for row in cursor.fetchall()}
        cursor.execute(
            """
            SELECT digest FROM content_artifact
            WHERE repository_id = %s AND digest = ANY(%s) AND deleted_at IS NULL ORDER BY digest FOR KEY SHARE
            """,
            [repository.id, list(wanted)],
        )
        missing = wanted - {bytes(row[0]) for row in cursor.fetchall()}
    if missing and not repository.project.allows_sparse_manifests:
        named = _some([str(Digest(digest)) for digest in missing])
        raise PreconditionFailed(f"the index lists {named}, which is deleted itself: restore or push it first")


def _revive(contents: _Contents) -> None:
    artifact_ids = list(contents.artifacts)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE content_artifact SET deleted_at = NULL, deletion_id = NULL WHERE id = ANY(%s)", [artifact_ids]
        )
        cursor.execute("UPDATE content_artifactblob SET is_trashed = false WHERE artifact_id = ANY(%s)", [artifact_ids])


def _write_history(repository: RepositoryRef, contents: _Contents, cause: Cause) -> None:
    """Revive the tags and write their history, later than their deletion whatever the clock says."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH tombstone AS (SELECT id, deleted_at FROM content_tag WHERE id = ANY(%s)), revived AS (
                UPDATE content_tag AS tag SET deleted_at = NULL, deletion_id = NULL FROM tombstone
                WHERE tag.id = tombstone.id RETURNING tag.name, tag.artifact_id, tombstone.deleted_at
            )
            INSERT INTO content_taghistory
            (repository_id, tag, old_digest, new_digest, subject_kind, subject_id, reason, at)
            SELECT %s, revived.name, NULL, artifact.digest, %s, %s, 'restore',
                   greatest(clock_timestamp(), revived.deleted_at + interval '1 microsecond')
            FROM revived JOIN content_artifact AS artifact ON artifact.id = revived.artifact_id ORDER BY revived.name
            """,
            [list(contents.tags), repository.id, int(cause.subject.kind), cause.subject.id],
        )


_PAY: Final = """
    WITH wanted AS (SELECT id, count(*) AS artifacts FROM unnest(%s::bigint[]) AS id GROUP BY id), paid AS (
        INSERT INTO content_projectmanifest AS known (project_id, manifest_id, artifacts)
        SELECT %s, id, artifacts FROM wanted ORDER BY id
        ON CONFLICT (project_id, manifest_id) DO UPDATE SET artifacts = known.artifacts + excluded.artifacts
        RETURNING manifest_id, xmax = 0 AS is_new
    ), entered AS (
        INSERT INTO content_quotaentry (project_id, manifest_id, delta_bytes, reason)
        SELECT %s, manifest_id, octet_length(content), 'restore' FROM paid
        JOIN content_manifest AS manifest ON manifest.id = manifest_id WHERE is_new RETURNING delta_bytes
    )
    SELECT coalesce(sum(delta_bytes), 0)::bigint FROM entered
"""


def _pay_for_manifests(repository: RepositoryRef, manifest_ids: Iterable[int]) -> None:
    project_id = repository.project.id
    with connection.cursor() as cursor:
        cursor.execute(_PAY, [list(manifest_ids), project_id, project_id])
        due_bytes = int(cursor.fetchone()[0])
    quota.charge(project_id=project_id, delta_bytes=due_bytes)


def _emit(
    restored: Restored, deletion: Deletion, contents: _Contents, keys: list[str], cause: Cause, *, is_whole: bool
) -> None:
    event = _event(restored, deletion, contents, is_whole=is_whole)
    repository = restored.repository
    emit(
        event,
        cause=cause,
        project_id=repository.project.id,
        repository_id=repository.id,
        changed=keys if is_whole else [repository_key(repository.id)],
    )


def _event(
    restored: Restored, deletion: Deletion, contents: _Contents, *, is_whole: bool
) -> RepositoryRestored | ArtifactRestored | TagRestored:
    digests: Mapping[int, tuple[bytes, int]] = contents.artifacts
    if is_whole:
        return RepositoryRestored(
            name=str(restored.repository.name), deletion=deletion.pk, artifacts=restored.artifacts
        )
    if digests:
        first = deletion.name or str(Digest(next(iter(digests.values()))[0]))
        return ArtifactRestored(digest=first, deletion=deletion.pk, artifacts=sorted(digests), tags=list(restored.tags))
    tag, _, digest = next(iter(contents.tags.values()), (restored.name, 0, b""))
    return TagRestored(tag=tag, digest=str(Digest(digest)) if digest else "", deletion=deletion.pk)
