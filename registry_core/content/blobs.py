"""Blobs: created from uploads, mounted between repositories, deleted from one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from django.db import IntegrityError, connection
from psycopg.errors import UniqueViolation

from registry_core.access import Cause
from registry_core.content import quota
from registry_core.content.errors import BlobUnknown, ContentInUse
from registry_core.content.events import BlobDeleted
from registry_core.content.links import GRACE, link, unlink
from registry_core.content.models import Blob
from registry_core.content.policies import policies
from registry_core.content.policy_contexts import DeletePlan
from registry_core.content.repositories import RepositoryRef, changing, retried
from registry_core.database.statements import statements
from registry_core.digests import Digest
from registry_core.events.outbox import emit


@dataclass(frozen=True, slots=True)
class BlobRef:
    """A blob and the location of its bytes."""

    id: int
    digest: Digest
    size_bytes: int
    store: str
    storage_key: str


# The common case in one statement and therefore one transaction: each step runs only if the previous one did. If
# another request stores a blob with this digest meanwhile, the third step fails on the unique digest.
_STORE_FRESH = f"""
    WITH payer AS (
        SELECT 1 FROM content_quotastripe
        WHERE project_id = %(project)s AND stripe = %(stripe)s
          AND (%(due)s <= 0 OR used_bytes + %(due)s <= allowance_bytes)
        FOR NO KEY UPDATE
    ), finished AS (
        {{finished}} EXISTS (SELECT FROM payer) AND NOT EXISTS (SELECT FROM content_blob WHERE digest = %(digest)s)
        {{returning}}
    ), made AS (
        INSERT INTO content_blob (digest, size_bytes, store, storage_key, state)
        SELECT %(digest)s, %(size)s, %(store)s, %(key)s, {Blob.State.LIVE:d} FROM finished RETURNING id
    ), linked AS (
        INSERT INTO content_repositoryblob (repository_id, blob_id, grace_until)
        SELECT %(repository)s, id, now() + interval '{GRACE}' FROM made
    ), paid AS (
        INSERT INTO content_projectblob (project_id, blob_id, links) SELECT %(project)s, id, 1 FROM made
    ), entered AS (
        INSERT INTO content_quotaentry (project_id, blob_id, delta_bytes, reason)
        SELECT %(project)s, id, %(size)s, 'push' FROM made
    ), charged AS (
        UPDATE content_quotastripe SET used_bytes = used_bytes + %(due)s
        WHERE project_id = %(project)s AND stripe = %(stripe)s AND EXISTS (SELECT FROM made)
    )
    SELECT id FROM made
"""  # noqa: S608 constants
_STORE_UPLOADED = _STORE_FRESH.format(
    finished="DELETE FROM content_upload WHERE id = %(upload)s AND version = %(version)s AND", returning="RETURNING id"
)
_STORE_SHORT = _STORE_FRESH.format(finished="SELECT WHERE", returning="")


@retried
def store_fresh(
    *, repository: RepositoryRef, blob: BlobRef, upload: tuple[int, int] | None, reserved_bytes: int = 0
) -> BlobRef | None:
    """As `store_blob`, for a digest that no blob has yet, including the end of the upload (id, version; None: it has no
    row). None, with nothing done, if a blob has the digest, or if the project's allowance must be redistributed."""
    values = {
        "project": repository.project.id,
        "repository": repository.id,
        "stripe": quota.own_stripe(),
        "digest": blob.digest.raw,
        "size": blob.size_bytes,
        "due": blob.size_bytes - reserved_bytes,
        "store": blob.store,
        "key": blob.storage_key,
    }
    if upload is not None:
        values |= {"upload": upload[0], "version": upload[1]}
    try:
        with statements() as cursor:
            cursor.execute(_STORE_SHORT if upload is None else _STORE_UPLOADED, values)
            row = cursor.fetchone()
    except IntegrityError as error:
        if not isinstance(error.__cause__, UniqueViolation):
            raise
        return None
    return None if row is None else replace(blob, id=row[0])


def store_blob(*, repository: RepositoryRef, blob: BlobRef, reserved_bytes: int = 0) -> BlobRef:
    """Make durable bytes a blob and link it. Returns the blob that now has the digest, which may be an earlier one with
    another key.

    Runs within the caller's transaction. Pushing the bytes again restores a blob that is quarantined or about to be
    deleted. Raises QuotaExceeded.
    """
    stored = _insert(blob) or _existing(blob)
    while stored is None:  # it was removed as garbage in between
        stored = _insert(blob) or _existing(blob)
    link(repository=repository, sizes_bytes={stored.id: stored.size_bytes}, reserved_bytes=reserved_bytes)
    return stored


def _insert(blob: BlobRef) -> BlobRef | None:
    with statements() as cursor:
        cursor.execute(
            """
            INSERT INTO content_blob (digest, size_bytes, store, storage_key, state) VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT (digest) DO NOTHING RETURNING id
            """,
            [blob.digest.raw, blob.size_bytes, blob.store, blob.storage_key, Blob.State.LIVE],
        )
        row = cursor.fetchone()
    return None if row is None else BlobRef(row[0], blob.digest, blob.size_bytes, blob.store, blob.storage_key)


def _existing(blob: BlobRef) -> BlobRef | None:
    """The living blob with the digest, locked, so that it does not become garbage before it is linked; a blob that is
    damaged or being deleted lives on with the new object. None if there is none any more."""
    with statements() as cursor:
        cursor.execute(
            """
            UPDATE content_blob SET store = %s, storage_key = %s, size_bytes = %s, state = %s
            WHERE digest = %s AND state <> %s
            """,
            [blob.store, blob.storage_key, blob.size_bytes, Blob.State.LIVE, blob.digest.raw, Blob.State.LIVE],
        )
        cursor.execute(
            """
            SELECT id, size_bytes, store, storage_key FROM content_blob WHERE digest = %s AND state = %s FOR KEY SHARE
            """,
            [blob.digest.raw, Blob.State.LIVE],
        )
        row = cursor.fetchone()
    return None if row is None else BlobRef(row[0], blob.digest, row[1], row[2], row[3])


def find_blob(digest: Digest) -> BlobRef | None:
    """The living blob with that digest."""
    with statements() as cursor:
        cursor.execute(
            "SELECT id, size_bytes, store, storage_key FROM content_blob WHERE digest = %s AND state = %s",
            [digest.raw, Blob.State.LIVE],
        )
        row = cursor.fetchone()
    return None if row is None else BlobRef(row[0], digest, row[1], row[2], row[3])


@retried
def delete_blob(*, repository: RepositoryRef, digest: Digest, cause: Cause) -> None:
    """Remove the blob from the repository.

    Raises BlobUnknown, ContentInUse while a living manifest uses it, or Refused by a policy.
    """
    with changing(repository.key), connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT blob.id FROM content_blob AS blob
            JOIN content_repositoryblob AS link ON link.blob_id = blob.id
            WHERE link.repository_id = %s AND blob.digest = %s FOR UPDATE OF link
            """,
            [repository.id, digest.raw],
        )
        row = cursor.fetchone()
        if row is None:
            raise BlobUnknown(f"this repository has no blob {digest}", {"digest": str(digest)})
        _refuse_if_used(repository, row[0], digest)
        policies.ask(DeletePlan(cause, repository.project, repository, "blob", blob=digest))
        unlink(
            repository_id=repository.id,
            project_id=repository.project.id,
            blob_ids=[row[0]],
            manifest_ids=[],
            reason="delete",
        )
        emit(
            BlobDeleted(digest=str(digest)),
            cause=cause,
            project_id=repository.project.id,
            repository_id=repository.id,
            changed=[repository.key],
        )


def _refuse_if_used(repository: RepositoryRef, blob_id: int, digest: Digest) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT artifact.digest FROM content_artifactblob AS used
            JOIN content_artifact AS artifact ON artifact.id = used.artifact_id
            WHERE used.repository_id = %s AND used.blob_id = %s AND NOT used.is_trashed LIMIT 1
            """,
            [repository.id, blob_id],
        )
        row = cursor.fetchone()
    if row is not None:
        user = Digest(bytes(row[0]))
        raise ContentInUse(f"the manifest {user} uses {digest}: delete the manifest first", {"manifest": str(user)})
