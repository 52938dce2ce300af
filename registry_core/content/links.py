"""Links: a repository's right to a blob, and the project's duty to pay for it. Both change here only, and together.

All functions run within the caller's transaction.
"""

from __future__ import annotations

from registry_core.content import quota
from registry_core.content.repositories import RepositoryRef
from registry_core.database.statements import statements

# How long a link that no manifest uses yet is safe from garbage collection.
GRACE = "1 hour"

# One statement: what is new in the repository is paid for, what of that is new in the project goes into the ledger, and
# its bytes are charged.
# Each step reads all of the step before it first, so rows are locked in the order of the steps, then of their ids.
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
_STOP_PAYING = """
    WITH mine AS (
        SELECT blob_id FROM content_projectblob
        WHERE project_id = %s AND blob_id = ANY(%s) ORDER BY blob_id FOR UPDATE
    ), lessened AS (
        UPDATE content_projectblob SET links = links - 1
        WHERE project_id = %s AND blob_id IN (SELECT blob_id FROM mine) AND links > 1 RETURNING blob_id
    )
    DELETE FROM content_projectblob
    WHERE project_id = %s AND blob_id IN (SELECT blob_id FROM mine) AND links = 1 RETURNING blob_id
"""


def link(
    *, repository: RepositoryRef, sizes_bytes: dict[int, int], reserved_bytes: int = 0, reason: str = "push"
) -> None:
    """Link blobs (id → size) to a repository and charge its project for those it did not have yet.

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


def unlink(*, repository_id: int, project_id: int, blob_ids: list[int], reason: str) -> None:
    """Take links away and give their bytes back where the project has no other link to them."""
    with statements() as cursor:
        cursor.execute(
            "DELETE FROM content_repositoryblob WHERE repository_id = %s AND blob_id = ANY(%s) RETURNING blob_id",
            [repository_id, blob_ids],
        )
        gone = sorted(row[0] for row in cursor.fetchall())
        cursor.execute(_STOP_PAYING, [project_id, gone, project_id, project_id])
        freed = [row[0] for row in cursor.fetchall()]
        cursor.execute("SELECT id, size_bytes FROM content_blob WHERE id = ANY(%s)", [freed])
        sizes = cursor.fetchall()
    quota.charge(project_id=project_id, delta_bytes=-sum(size for _, size in sizes))
    quota.record(
        project_id=project_id,
        blob_ids=[blob_id for blob_id, _ in sizes],
        deltas_bytes=[-size for _, size in sizes],
        reason=reason,
    )
