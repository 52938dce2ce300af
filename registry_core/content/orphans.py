"""Orphans: objects that no row names, left by a process that died between its commit and its clean-up.

A key is written into an upload's row before its object exists, and passes from that row to a blob's in one transaction.
Of a short upload it is the name of its staged file, which is there before the object. So an object that none of them
names will never be named again: keys are not used twice.
"""

from __future__ import annotations

import time

from django.db import connection

from registry_core.content.check import StorageReport, compare
from registry_core.storage.interface import ObjectStore, StoredObject
from registry_core.storage.stores import configured_stores

_IS_NAMED = """
    SELECT EXISTS (SELECT 1 FROM content_upload WHERE store = %s AND storage_key = %s)
        OR EXISTS (SELECT 1 FROM content_blob WHERE store = %s AND storage_key = %s)
"""


def sweep_orphans(*, ttl_s: int) -> int:
    """Remove the objects without a row that nobody wrote for `ttl_s` seconds; how many there were. Raises
    StorageError."""
    return sum(_sweep(store, written_before_s=time.time() - ttl_s) for store in configured_stores())


def _sweep(store: ObjectStore, *, written_before_s: float) -> int:
    report = StorageReport()
    compare(store, report)
    staged = store.staged()
    unstaged = [stored for stored in report.objects_without_row if stored.upload_key not in staged]
    objects = [stored for stored in unstaged if _is_orphan(store, stored, written_before_s)]
    unfinished = [stored for stored in report.unfinished_without_row if _is_orphan(store, stored, written_before_s)]
    for stored in objects:
        store.delete(stored.key)
    for stored in unfinished:
        store.abort(stored.key)
    return len(objects) + len(unfinished)


def _is_orphan(store: ObjectStore, stored: StoredObject, written_before_s: float) -> bool:
    return stored.modified_at_s <= written_before_s and not _is_named(store.name, stored)


def _is_named(store: str, stored: StoredObject) -> bool:
    # One statement, so one snapshot: a key on its way from an upload to a blob is in one of them.
    with connection.cursor() as cursor:
        cursor.execute(_IS_NAMED, [store, stored.upload_key, store, stored.key])
        return bool(cursor.fetchone()[0])
