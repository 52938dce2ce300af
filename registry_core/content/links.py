"""Links: a repository's right to a blob, and the project's duty to pay for it. Both change here only, and together.

All functions run within the caller's transaction.
"""

from __future__ import annotations

from django.db import connection

from registry_core.content import quota
from registry_core.content.repositories import RepositoryRef

# How long a link that no manifest uses yet is safe from garbage collection.
GRACE = "1 hour"

_LINK = f"""
    INSERT INTO content_repositoryblob (repository_id, blob_id, grace_until)
    SELECT %s, id, now() + interval '{GRACE}' FROM unnest(%s::bigint[]) AS id ORDER BY id
    ON CONFLICT (repository_id, blob_id) DO UPDATE SET grace_until = excluded.grace_until
    RETURNING blob_id, (xmax = 0) AS is_new
"""  # noqa: S608 the interval is a constant
_PAY = """
    INSERT INTO content_projectblob (project_id, blob_id, links)
    SELECT %s, id, 1 FROM unnest(%s::bigint[]) AS id ORDER BY id
    ON CONFLICT (project_id, blob_id) DO UPDATE SET links = content_projectblob.links + 1
    RETURNING blob_id, links
"""
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
    project_id = repository.project.id
    new_here = _new_links(repository.id, list(sizes_bytes))
    new_in_project = _pay(project_id, new_here) if new_here else []
    deltas = [sizes_bytes[blob_id] for blob_id in new_in_project]
    quota.charge(project_id=project_id, delta_bytes=sum(deltas) - reserved_bytes)
    if new_in_project:
        quota.record(project_id=project_id, blob_ids=new_in_project, deltas_bytes=deltas, reason=reason)


def unlink(*, repository_id: int, project_id: int, blob_ids: list[int], reason: str) -> None:
    """Take links away and give their bytes back where the project has no other link to them."""
    with connection.cursor() as cursor:
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


def _new_links(repository_id: int, blob_ids: list[int]) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(_LINK, [repository_id, blob_ids])
        return [blob_id for blob_id, is_new in cursor.fetchall() if is_new]


def _pay(project_id: int, blob_ids: list[int]) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(_PAY, [project_id, blob_ids])
        return [blob_id for blob_id, links in cursor.fetchall() if links == 1]
