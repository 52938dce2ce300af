"""Mounts: linking a blob of one repository to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.db import connection

from registry_core.access import Cause
from registry_core.content.blobs import BlobRef
from registry_core.content.errors import Refused
from registry_core.content.events import BlobMounted
from registry_core.content.links import link
from registry_core.content.models import Blob
from registry_core.content.objects import is_lost
from registry_core.content.policies import policies
from registry_core.content.policy_contexts import MountContext, PullContext, blob_content
from registry_core.content.repositories import PROJECT_COLUMNS, RepositoryRef, changing, repository_of, retried
from registry_core.content.staged_quota import lease_returned
from registry_core.content.verdicts import before_pull
from registry_core.digests import Digest
from registry_core.events.outbox import emit

_FIND: Final = f"""
    SELECT blob.id, blob.size_bytes, blob.store, blob.storage_key, source.id, source.name, {PROJECT_COLUMNS}
    FROM content_blob AS blob
    JOIN content_repositoryblob AS link ON link.blob_id = blob.id
    JOIN content_repository AS source ON source.id = link.repository_id AND source.deleted_at IS NULL
    JOIN content_project AS project ON project.id = source.project_id AND project.deleted_at IS NULL
    WHERE blob.digest = %s AND blob.state = %s
      AND (%s::bigint IS NULL OR source.id = %s) AND (%s::bigint[] IS NULL OR source.project_id = ANY(%s))
    LIMIT 1
"""  # noqa: S608 a constant
_LOCK: Final = f"{_FIND} FOR KEY SHARE OF link, blob"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A blob to mount: from the repository `source_id`, or (None) from any of the projects that the caller may read
    (None: all). `source_name` is for the audit log."""

    digest: Digest
    source_id: int | None
    readable_projects: list[int] | None
    source_name: str = ""


@lease_returned
@retried
def mount_blob(*, repository: RepositoryRef, wanted: Wanted, cause: Cause) -> BlobRef | None:
    """Link a blob that the caller may read in another repository. None if there is none, its object is lost, or a
    policy forbids reading it there: the client then pushes it. Raises QuotaExceeded, or Refused by a policy of the
    target."""
    with changing():
        found = _find(_LOCK, wanted, cause)
        if found is None:
            return None
        blob, source = found
        policies.ask(MountContext(cause, repository, blob_content(blob.digest, blob.size_bytes), source))
        link(repository=repository, sizes_bytes={blob.id: blob.size_bytes}, reason="mount")
        emit(
            BlobMounted(digest=str(blob.digest), source=wanted.source_name),
            cause=cause,
            project_id=repository.project.id,
            repository_id=repository.id,
        )
    return blob


def find_source(*, wanted: Wanted, cause: Cause) -> tuple[BlobRef, RepositoryRef] | None:
    """The blob and a repository to mount it from, as of now; None if it cannot be mounted."""
    return _find(_FIND, wanted, cause)


def _find(statement: str, wanted: Wanted, cause: Cause) -> tuple[BlobRef, RepositoryRef] | None:
    projects = wanted.readable_projects
    with connection.cursor() as cursor:
        cursor.execute(
            statement,
            [wanted.digest.raw, Blob.State.LIVE, wanted.source_id, wanted.source_id, projects, projects],
        )
        row = cursor.fetchone()
    if row is None:
        return None
    blob_id, size_bytes, store, key, *of_source = row
    if is_lost(store=store, key=key, size_bytes=size_bytes):
        return None
    blob, source = BlobRef(blob_id, wanted.digest, size_bytes, store, key), repository_of(of_source)
    try:
        before_pull(PullContext(cause, source, blob_content(blob.digest, size_bytes), "", is_head=False))
    except Refused:
        return None
    return blob, source
