"""What a project is charged for an upload before it becomes a blob: from its first byte on, refunded to the byte.

While bytes arrive, some are reserved in advance to save a statement per piece; but only a small fraction of the free
quota, so that near the limit each piece is reserved separately. Unused reservations are refunded whenever a request
that writes the upload ends.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Final

from django.db import transaction

from registry_core.content import quota, upload_rows
from registry_core.content.errors import QuotaExceeded
from registry_core.content.repositories import retried
from registry_core.content.staged_quota import SHARE_OF_FREE, at_the_edge
from registry_core.content.upload_rows import LEASE_S, Position
from registry_core.database.statements import LOSABLE, statements

SLICE_BYTES: Final = 16 << 20

_RESERVE = f"""
    WITH held AS (
        SELECT id FROM content_upload WHERE id = %s AND version = %s FOR NO KEY UPDATE
    ), due AS (
        SELECT %s + least({SLICE_BYTES}, greatest(0, allowance_bytes - used_bytes - %s) / {SHARE_OF_FREE}) AS bytes
        FROM content_quotastripe WHERE project_id = %s AND stripe = %s AND EXISTS (SELECT FROM held)
    ), charged AS ({quota.CHARGED})
    UPDATE content_upload AS upload SET reserved_bytes = upload.reserved_bytes + due.bytes
    FROM held, due, {LOSABLE} WHERE upload.id = held.id AND EXISTS (SELECT FROM charged)
    RETURNING upload.reserved_bytes
"""  # noqa: S608 constants
_KEEP = f"""
    WITH kept AS (
        UPDATE content_upload SET offset_bytes = %s, hash_state = %s, parts = %s::jsonb, reserved_bytes = %s,
               writer = '', updated_at = now(), writer_until = now() + interval '{LEASE_S} seconds'
        FROM {LOSABLE} WHERE id = %s AND version = %s RETURNING 1
    ), freed AS (
        UPDATE content_quotastripe SET used_bytes = used_bytes - %s
        WHERE project_id = %s AND stripe = %s AND EXISTS (SELECT FROM kept)
    )
    SELECT count(*) FROM kept
"""  # noqa: S608 constants


def reserve(*, upload: tuple[int, int], project_id: int, reserved_bytes: int, needed_bytes: int) -> int:
    """Charge at least `needed_bytes` for an upload (id, version) that has reserved `reserved_bytes`; returns its
    reservation. Raises QuotaExceeded, or UploadBusy if it was taken over."""
    missing_bytes, stripe = needed_bytes - reserved_bytes, quota.own_stripe()
    row = _reserved(upload, project_id, stripe, missing_bytes)
    if row is not None:
        return row
    exactly = partial(_reserve_exactly, upload, project_id, needed_bytes, missing_bytes)
    try:
        exactly()
    except QuotaExceeded:
        at_the_edge(project_id, exactly)
    return needed_bytes


@retried
def _reserved(upload: tuple[int, int], project_id: int, stripe: int, missing_bytes: int) -> int | None:
    with statements() as cursor:
        cursor.execute(_RESERVE, [*upload, missing_bytes, missing_bytes, project_id, stripe, project_id, stripe])
        row = cursor.fetchone()
    return None if row is None else int(row[0])


@retried
@transaction.atomic
def _reserve_exactly(upload: tuple[int, int], project_id: int, needed_bytes: int, missing_bytes: int) -> None:
    upload_rows.reserve(*upload, needed_bytes)
    quota.charge(project_id=project_id, delta_bytes=missing_bytes)


@retried
def keep(*, upload: tuple[int, int], project_id: int, reserved_bytes: int, position: Position) -> int:
    """Record the position of an upload (id, version), release its claim, and reduce its reservation to its size, which
    is returned. Raises UploadBusy if it was taken over."""
    left_bytes = min(reserved_bytes, position.offset_bytes)
    noted = [position.offset_bytes, position.hash_state, json.dumps(position.parts), left_bytes]
    with statements() as cursor:
        cursor.execute(_KEEP, [*noted, *upload, reserved_bytes - left_bytes, project_id, quota.own_stripe()])
        upload_rows.refuse_unless_one(cursor.fetchall()[0][0])
    return left_bytes
