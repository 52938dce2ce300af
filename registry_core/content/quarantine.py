"""Quarantine: a blob whose bytes are missing or damaged is no longer served; pushing it again heals it.

The row is kept: manifests still refer to the blob, and its digest identifies the bytes that are needed.
"""

from __future__ import annotations

from django.db import connection

from registry_core.access import of_system
from registry_core.content.events import BlobHealed, BlobQuarantined
from registry_core.content.models import Blob
from registry_core.content.repositories import changing, repository_key, retried
from registry_core.digests import Digest
from registry_core.events.outbox import emit


@retried
def quarantine(*, store: str, key: str, reason: str) -> Digest | None:
    """Stop serving the blob whose bytes are under `key`. Returns its digest, or None if no living blob has that key
    (any more)."""
    repository_ids = _repositories(store, key)
    keys = [repository_key(repository_id) for repository_id in repository_ids]
    with changing(*keys), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE content_blob SET state = %s WHERE store = %s AND storage_key = %s AND state = %s RETURNING digest",
            [Blob.State.QUARANTINED, store, key, Blob.State.LIVE],
        )
        row = cursor.fetchone()
        if row is None:
            return None
        digest = Digest(bytes(row[0]))
        emit(
            BlobQuarantined(digest=str(digest), reason=reason, repositories=repository_ids),
            cause=of_system("quarantine"),
            changed=keys,
        )
    return digest


@retried
def relink(*, digests: list[Digest], store: str, key: str, size_bytes: int) -> Digest | None:
    """Give a quarantined blob the object under `key`, whose content has one of `digests`; None if no blob needs it."""
    with changing(), connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE content_blob SET state = %s, store = %s, storage_key = %s
            WHERE digest = ANY(%s) AND state = %s AND size_bytes = %s RETURNING digest
            """,
            [Blob.State.LIVE, store, key, [digest.raw for digest in digests], Blob.State.QUARANTINED, size_bytes],
        )
        row = cursor.fetchone()
        if row is None:
            return None
        healed = Digest(bytes(row[0]))
        emit(BlobHealed(digest=str(healed), key=key), cause=of_system("healing"))
    return healed


def _repositories(store: str, key: str) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT link.repository_id FROM content_blob AS blob
            JOIN content_repositoryblob AS link ON link.blob_id = blob.id
            WHERE blob.store = %s AND blob.storage_key = %s ORDER BY 1
            """,
            [store, key],
        )
        return [row[0] for row in cursor.fetchall()]
