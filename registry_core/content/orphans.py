"""Orphans: objects that no row names, left by a process that died between its commit and its clean-up.

A key is written into an upload's row before its object exists, and passes from that row to a blob's row in one
transaction. The key of a short upload is the name of its staged file, which exists before the object. Keys are not
reused, so an object that none of these names will never be named again, provided that this is the database with which
the objects were written, which `registry_core.content.installation` and `registry_core.content.acknowledged` check.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog
from django.db import connection

from registry_core.content.compare import StorageReport, compare
from registry_core.storage.interface import ObjectStore, StoredObject

OBJECTS_MIN = 10
_log = structlog.get_logger(__name__)

_IS_NAMED = """
    SELECT EXISTS (SELECT 1 FROM content_upload WHERE store = %s AND storage_key = %s)
        OR EXISTS (SELECT 1 FROM content_blob WHERE store = %s AND storage_key = %s)
        OR EXISTS (SELECT 1 FROM content_doomedobject WHERE store = %s AND storage_key = %s)
"""


@dataclass(slots=True)
class Orphans:
    """Objects of one store that no row names and nobody wrote for a while, and the store's totals."""

    objects: list[StoredObject] = field(default_factory=list)
    unfinished: list[StoredObject] = field(default_factory=list)
    all_objects: int = 0
    all_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        return sum(stored.size_bytes for stored in self.objects)

    def is_too_much(self, *, max_percent: int) -> bool:
        """Whether an operator should look before so much is removed: more than a handful, and more than `max_percent`
        of the store's objects or bytes."""
        if len(self.objects) <= OBJECTS_MIN:
            return False
        return (
            len(self.objects) * 100 > self.all_objects * max_percent
            or self.size_bytes * 100 > self.all_bytes * max_percent
        )


def find_orphans(store: ObjectStore, *, written_before_s: float) -> Orphans:
    """The orphans of a store. Raises StorageError."""
    report = StorageReport()
    compare(store, report)
    staged = store.staged()
    unstaged = [stored for stored in report.objects_without_row if stored.upload_key not in staged]
    return Orphans(
        objects=[stored for stored in unstaged if _is_orphan(store, stored, written_before_s)],
        unfinished=[stored for stored in report.unfinished_without_row if _is_orphan(store, stored, written_before_s)],
        all_objects=report.objects,
        all_bytes=report.objects_bytes,
    )


def remove_orphan(store: ObjectStore, stored: StoredObject, *, to_trash: bool) -> bool:
    """Move an object to the trash, or delete it; False if a row names it or it is gone by now. Raises StorageError."""
    if _is_named(store.name, stored):
        return False
    trashed = store.trash(stored.key) if to_trash else None
    if to_trash and trashed is None:
        return False
    if not to_trash:
        store.delete(stored.key)
    _log.info(
        "an object was removed",
        store=store.name,
        key=stored.key,
        size_bytes=stored.size_bytes,
        reason="no blob and no upload in the database has it",
        trash=trashed.name if trashed else "",
    )
    return True


def remove_unfinished(store: ObjectStore, stored: StoredObject) -> bool:
    """Remove an unfinished object; False if a row names it by now. Raises StorageError."""
    if _is_named(store.name, stored):
        return False
    store.abort(stored.key)
    _log.info("an unfinished object was removed", store=store.name, key=stored.key, reason="no upload has it")
    return True


def _is_orphan(store: ObjectStore, stored: StoredObject, written_before_s: float) -> bool:
    return stored.modified_at_s <= written_before_s and not _is_named(store.name, stored)


def _is_named(store: str, stored: StoredObject) -> bool:
    # One statement, so one snapshot: a key that passes from an upload to a blob is in one of them.
    with connection.cursor() as cursor:
        cursor.execute(_IS_NAMED, [store, stored.upload_key, store, stored.key, store, stored.key])
        return bool(cursor.fetchone()[0])
