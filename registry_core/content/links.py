"""Links: a repository's right to read a blob, and the project's charge for it and for manifests. Both change only here,
and together.

All functions run within the caller's transaction.
"""

from __future__ import annotations

from registry_core.content import garbage, quota
from registry_core.content.models import Garbage
from registry_core.content.repositories import RepositoryRef
from registry_core.database.statements import statements

# How long a link that no manifest uses yet is protected from garbage collection.
GRACE = "1 hour"

# One statement: a new link in the repository is counted in the project; a blob that is new in the project is entered
# into the ledger, and its bytes are charged. Each step reads the whole result of the previous one first, so rows are
# locked in the order of the steps, then of their ids.
_LINK = f"""
    WITH wanted AS (SELECT * FROM unnest(%s::bigint[], %s::bigint[]) AS wanted (id, size_bytes)), linked AS (
        INSERT INTO content_repositoryblob (repository_id, blob_id, grace_until)
        SELECT %s, id, now() + interval '{GRACE}' FROM wanted ORDER BY id
        ON CONFLICT (repository_id, blob_id) DO UPDATE SET grace_until = excluded.grace_until
        RETURNING blob_id, (xmax = 0) AS is_new
    ), paid AS (
        INSERT INTO content_projectblob (project_id, blob_id, links)
        SELECT %s, blob_id, 1 FROM linked WHERE is_new ORDER BY blob_id
        ON CONFLICT (project_id, blob_id) DO UPDATE SET links = content_projectblob.links + 1
        RETURNING blob_id, links
    ), entered AS (
        INSERT INTO content_quotaentry (project_id, blob_id, delta_bytes, reason)
        SELECT %s, blob_id, size_bytes, %s FROM paid JOIN wanted ON id = blob_id WHERE links = 1
        RETURNING delta_bytes
    ), due AS (SELECT (coalesce(sum(delta_bytes), 0) - %s)::bigint AS bytes FROM entered), charged AS ({quota.CHARGED})
    SELECT bytes, bytes = 0 OR EXISTS (SELECT FROM charged) FROM due
"""  # noqa: S608 constants
_PAY_FOR_MANIFEST = f"""
    WITH paid AS (
        INSERT INTO content_projectmanifest (project_id, manifest_id, artifacts) VALUES (%s, %s, 1)
        ON CONFLICT (project_id, manifest_id) DO UPDATE SET artifacts = content_projectmanifest.artifacts + 1
        RETURNING project_id, manifest_id, artifacts
    ), entered AS (
        INSERT INTO content_quotaentry (project_id, manifest_id, delta_bytes, reason)
        SELECT project_id, manifest_id, %s, %s FROM paid WHERE artifacts = 1 RETURNING delta_bytes
    ), due AS (SELECT coalesce(sum(delta_bytes), 0)::bigint AS bytes FROM entered), charged AS ({quota.CHARGED})
    SELECT bytes, bytes = 0 OR EXISTS (SELECT FROM charged) FROM due
"""  # noqa: S608 constants
# A separate statement locks the rows: a statement that waits for locks would go on with the rows' old contents.
_HOLD_BLOBS = """
    SELECT FROM content_projectblob WHERE project_id = %s AND blob_id = ANY(%s) ORDER BY blob_id FOR UPDATE
"""
_STOP_PAYING_FOR_BLOBS = """
    WITH lessened AS (
        UPDATE content_projectblob SET links = links - 1 WHERE project_id = %s AND blob_id = ANY(%s) AND links > 1
    ), gone AS (
        DELETE FROM content_projectblob WHERE project_id = %s AND blob_id = ANY(%s) AND links = 1 RETURNING blob_id
    )
    SELECT blob.id, blob.size_bytes FROM gone JOIN content_blob AS blob ON blob.id = gone.blob_id
"""
_HOLD_MANIFESTS = """
    SELECT FROM content_projectmanifest WHERE project_id = %s AND manifest_id = ANY(%s) ORDER BY manifest_id FOR UPDATE
"""
_STOP_PAYING_FOR_MANIFESTS = """
    WITH less AS (
        SELECT manifest_id, count(*) AS artifacts FROM unnest(%s::bigint[]) AS less (manifest_id) GROUP BY manifest_id
    ), lessened AS (
        UPDATE content_projectmanifest AS paid SET artifacts = paid.artifacts - less.artifacts FROM less
        WHERE paid.project_id = %s AND paid.manifest_id = less.manifest_id AND paid.artifacts > less.artifacts
    ), gone AS (
        DELETE FROM content_projectmanifest AS paid USING less
        WHERE paid.project_id = %s AND paid.manifest_id = less.manifest_id AND paid.artifacts <= less.artifacts
        RETURNING paid.manifest_id
    )
    SELECT manifest.id, octet_length(manifest.content)
    FROM gone JOIN content_manifest AS manifest ON manifest.id = gone.manifest_id
"""


def link(
    *, repository: RepositoryRef, sizes_bytes: dict[int, int], reserved_bytes: int = 0, reason: str = "push"
) -> None:
    """Link blobs (id → size) to a repository and charge its project for those that it did not have yet.

    `reserved_bytes` were charged before and are settled now. Raises QuotaExceeded.
    """
    project_id, stripe = repository.project.id, quota.own_stripe()
    wanted = [list(sizes_bytes), list(sizes_bytes.values())]
    with statements() as cursor:
        cursor.execute(
            _LINK, [*wanted, repository.id, project_id, project_id, reason, reserved_bytes, project_id, stripe]
        )
        due_bytes, is_charged = cursor.fetchone() or (0, True)
    if not is_charged:
        quota.deal_out(project_id, stripe, due_bytes)


def pay_for_manifest(*, project_id: int, manifest_id: int, size_bytes: int, reason: str) -> None:
    """Charge a project for the manifest of a new artifact, unless another of its artifacts has the same manifest.

    Raises QuotaExceeded.
    """
    stripe = quota.own_stripe()
    with statements() as cursor:
        cursor.execute(_PAY_FOR_MANIFEST, [project_id, manifest_id, size_bytes, reason, project_id, stripe])
        due_bytes, is_charged = cursor.fetchall()[0]
    if not is_charged:
        quota.deal_out(project_id, stripe, due_bytes)


def unlink(*, repository_id: int, project_id: int, blob_ids: list[int], manifest_ids: list[int], reason: str) -> None:
    """Remove links, and refund blobs and manifests that the project no longer has elsewhere. The blobs are queued for
    garbage collection, which finds out whether something else refers to them.

    `manifest_ids`: the manifest of each deleted artifact, so it may contain an id several times.
    """
    with statements() as cursor:
        cursor.execute(
            "DELETE FROM content_repositoryblob WHERE repository_id = %s AND blob_id = ANY(%s) RETURNING blob_id",
            [repository_id, blob_ids],
        )
        gone = [row[0] for row in cursor.fetchall()]
        cursor.execute(_HOLD_BLOBS, [project_id, gone])
        cursor.execute(_STOP_PAYING_FOR_BLOBS, [project_id, gone, project_id, gone])
        blobs = dict(cursor.fetchall())
        cursor.execute(_HOLD_MANIFESTS, [project_id, manifest_ids])
        cursor.execute(_STOP_PAYING_FOR_MANIFESTS, [manifest_ids, project_id, project_id])
        manifests = dict(cursor.fetchall())
    quota.charge(project_id=project_id, delta_bytes=-sum(blobs.values()) - sum(manifests.values()))
    quota.record_freed(project_id=project_id, blobs=blobs, manifests=manifests, reason=reason)
    garbage.queue(Garbage.Kind.BLOB, gone)
