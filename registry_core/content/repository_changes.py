"""Repositories: described, and deleted with all that is in them."""

from __future__ import annotations

from django.db import connection
from django.db.models.functions import Now

from registry_core.access import Cause
from registry_core.content.deletions import Kind, begin_deletion
from registry_core.content.errors import RepositoryUnknown
from registry_core.content.events import RepositoryDeleted, RepositoryUpdated
from registry_core.content.links import unlink
from registry_core.content.manifests import ask_before_delete, lock_artifacts, lock_tags, tombstone_artifacts
from registry_core.content.models import Repository
from registry_core.content.repositories import CATALOG_KEY, RepositoryRef, changing, name_key, retried
from registry_core.errors import InvalidInput
from registry_core.events.outbox import emit

DESCRIPTION_MAX = 65_536


def describe_repository(*, repository: RepositoryRef, description: str, cause: Cause) -> None:
    """Set a repository's description, in plain text or Markdown. Raises InvalidInput or RepositoryUnknown."""
    if len(description) > DESCRIPTION_MAX or "\x00" in description:
        raise InvalidInput(f"a description has at most {DESCRIPTION_MAX} characters")
    with changing(repository.key):
        living = Repository.objects.filter(pk=repository.id, deleted_at=None)
        if not living.update(description=description, updated_at=Now(), changed_at=Now()):
            raise RepositoryUnknown(f"there is no repository {repository.name}")
        emit(
            RepositoryUpdated(name=str(repository.name)),
            cause=cause,
            project_id=repository.project.id,
            repository_id=repository.id,
            changed=[repository.key],
        )


@retried
def delete_repository(*, repository: RepositoryRef, cause: Cause) -> None:
    """Delete a repository with its content, as one deletion; its name becomes available.

    Raises RepositoryUnknown if it is already deleted, or Refused by a policy.
    """
    keys = [repository.key, name_key(str(repository.name)), CATALOG_KEY]
    with changing(*keys):
        _lock_repository(repository)
        artifacts = lock_artifacts(repository, "true", [])
        tags = lock_tags(artifacts)
        ask_before_delete(repository, artifacts, tags, cause, about=None)
        _tombstone_repository(repository)
        deletion_id = begin_deletion(
            project=repository.project,
            repository=repository,
            kind=Kind.REPOSITORY,
            name=repository.name.path,
            cause=cause,
        )
        tombstoned = tombstone_artifacts(repository, artifacts, tags, deletion_id, cause)
        _unlink_all(repository, tombstoned.manifest_ids)
        emit(
            RepositoryDeleted(name=str(repository.name), deletion=deletion_id, artifacts=len(artifacts)),
            cause=cause,
            project_id=repository.project.id,
            repository_id=repository.id,
            changed=keys,
        )


def _lock_repository(repository: RepositoryRef) -> None:
    """Exclude pushes, which lock the row while they add to it. Raises RepositoryUnknown."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM content_repository WHERE id = %s AND deleted_at IS NULL FOR UPDATE", [repository.id]
        )
        if cursor.fetchone() is None:
            raise RepositoryUnknown(f"there is no repository {repository.name}")


def _tombstone_repository(repository: RepositoryRef) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE content_repository SET deleted_at = clock_timestamp() WHERE id = %s", [repository.id])


def _unlink_all(repository: RepositoryRef, manifest_ids: list[int]) -> None:
    """Remove every link, including those of blobs that no manifest used yet, and refund the manifests."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT blob_id FROM content_repositoryblob WHERE repository_id = %s ORDER BY blob_id FOR UPDATE",
            [repository.id],
        )
        left = [row[0] for row in cursor.fetchall()]
    unlink(
        repository_id=repository.id,
        project_id=repository.project.id,
        blob_ids=left,
        manifest_ids=manifest_ids,
        reason="delete",
    )
