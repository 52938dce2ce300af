"""Orphans: objects that no row names, left by a process that died between its commit and its clean-up.

A key is written into an upload's row before its object exists, and passes from that row to a blob's in one transaction.
So an object that neither names will never be named again: keys are not used twice.
"""

from __future__ import annotations

import time

from django.db import connection

from registry_core.content.check import check_storage
from registry_core.storage.stores import default_store

_IS_NAMED = """
    SELECT EXISTS (SELECT 1 FROM content_upload WHERE store = %s AND storage_key = %s)
        OR EXISTS (SELECT 1 FROM content_blob WHERE store = %s AND storage_key = %s)
"""


def sweep_orphans(*, ttl_s: int) -> int:
    """Remove the objects without a row that nobody wrote for `ttl_s` seconds; how many there were."""
    store = default_store()
    written_before_s = time.time() - ttl_s
    removed = 0
    for stored in check_storage().objects_without_row:
        if stored.modified_at_s <= written_before_s and not _is_named(store.name, stored.key):
            store.delete(stored.key)
            removed += 1
    return removed


def _is_named(store: str, key: str) -> bool:
    # One statement, so one snapshot: a key on its way from an upload to a blob is in one of them.
    with connection.cursor() as cursor:
        cursor.execute(_IS_NAMED, [store, key, store, key])
        return bool(cursor.fetchone()[0])
