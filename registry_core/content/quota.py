"""Quotas: what a project's blobs and manifests cost, counted once per project, exactly, and without a row that every
push must lock.

A project's counter is striped. A change goes to one stripe and needs no other row while the stripe stays within its
allowance. Only when an allowance is used up are the project and its stripes locked, the total computed, and the rest of
the limit redistributed. So the sum of the allowances never exceeds the limit, and a refusal is exact to the byte.
"""

from __future__ import annotations

import threading

from registry_core.content.errors import QuotaExceeded
from registry_core.database.statements import statements

STRIPES = 16
_NO_LIMIT_ALLOWANCE = 1 << 60

# For a statement with a step `due` that has the bytes to charge; returns no row if the stripe's allowance is used up.
CHARGED = """
    UPDATE content_quotastripe SET used_bytes = used_bytes + due.bytes FROM due
    WHERE project_id = %s AND stripe = %s AND due.bytes <> 0
      AND (due.bytes < 0 OR used_bytes + due.bytes <= allowance_bytes)
    RETURNING 1
"""


def own_stripe() -> int:
    """The stripe that this thread charges, so that threads that push to one project do not wait for each other."""
    return threading.get_ident() // 4096 % STRIPES


def charge(*, project_id: int, delta_bytes: int) -> None:
    """Add `delta_bytes` (negative: refund) to the project's usage. At most once per transaction, within it.

    Raises QuotaExceeded.
    """
    if delta_bytes == 0:
        return
    stripe = own_stripe()
    with statements() as cursor:
        cursor.execute(f"WITH due AS (SELECT %s::bigint AS bytes) {CHARGED}", [delta_bytes, project_id, stripe])
        is_done = cursor.rowcount == 1
    if not is_done:
        deal_out(project_id, stripe, delta_bytes)


def record_freed(*, project_id: int, blobs: dict[int, int], manifests: dict[int, int], reason: str) -> None:
    """Write ledger entries for what a transaction refunded: sizes by id."""
    with statements() as cursor:
        cursor.execute(
            """
            INSERT INTO content_quotaentry (project_id, blob_id, manifest_id, delta_bytes, reason)
            SELECT %s, id, NULL, -size_bytes, %s FROM unnest(%s::bigint[], %s::bigint[]) AS blob (id, size_bytes)
            UNION ALL
            SELECT %s, NULL, id, -size_bytes, %s FROM unnest(%s::bigint[], %s::bigint[]) AS manifest (id, size_bytes)
            """,
            [
                *(project_id, reason, list(blobs), list(blobs.values())),
                *(project_id, reason, list(manifests), list(manifests.values())),
            ],
        )


def charged_bytes(project_id: int) -> int:
    """The total of the project's stripes: content, and reservations of uploads in progress."""
    with statements() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(used_bytes), 0) FROM content_quotastripe WHERE project_id = %s", [project_id]
        )
        return int(cursor.fetchall()[0][0])


def deal_out(project_id: int, stripe: int, delta_bytes: int) -> None:
    """Charge a stripe whose allowance is used up, and redistribute the rest of the limit. Within the transaction.
    Raises QuotaExceeded."""
    with statements() as cursor:
        cursor.execute("SELECT storage_limit_bytes FROM content_project WHERE id = %s FOR NO KEY UPDATE", [project_id])
        limit = cursor.fetchall()[0][0]
        cursor.execute(
            """
            INSERT INTO content_quotastripe (project_id, stripe, used_bytes, allowance_bytes)
            SELECT %s, stripe, 0, 0 FROM generate_series(0, %s) AS stripe ON CONFLICT DO NOTHING
            """,
            [project_id, STRIPES - 1],
        )
        cursor.execute(
            "SELECT used_bytes FROM content_quotastripe WHERE project_id = %s ORDER BY stripe FOR UPDATE", [project_id]
        )
        used = sum(row[0] for row in cursor.fetchall())
        if delta_bytes > 0 and 0 <= limit < used + delta_bytes:
            raise QuotaExceeded(limit, used, delta_bytes)
        headroom = _NO_LIMIT_ALLOWANCE if limit < 0 else max(0, limit - used - delta_bytes) // STRIPES
        cursor.execute(
            """
            UPDATE content_quotastripe
            SET used_bytes = used_bytes + CASE WHEN stripe = %s THEN %s ELSE 0 END,
                allowance_bytes = used_bytes + CASE WHEN stripe = %s THEN %s ELSE 0 END + %s
            WHERE project_id = %s
            """,
            [stripe, delta_bytes, stripe, delta_bytes, headroom, project_id],
        )


def set_limit(*, project_id: int, limit_bytes: int) -> None:
    """Set the project's limit (-1: none). Existing content stays even if it exceeds the limit; further pushes are
    refused. Within a transaction."""
    with statements() as cursor:
        cursor.execute("UPDATE content_project SET storage_limit_bytes = %s WHERE id = %s", [limit_bytes, project_id])
        cursor.execute(
            """
            WITH locked AS (SELECT stripe FROM content_quotastripe WHERE project_id = %s ORDER BY stripe FOR UPDATE)
            UPDATE content_quotastripe SET allowance_bytes = used_bytes
            WHERE project_id = %s AND stripe IN (SELECT stripe FROM locked)
            """,
            [project_id, project_id],
        )
