"""The two truths compared: objects in the store without a row, and rows without their object."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.db import connection

from registry_core.storage.interface import StoredObject
from registry_core.storage.stores import default_store

BATCH = 10_000


@dataclass(slots=True)
class StorageReport:
    """What does not fit together. `unfinished` are objects of uploads that are still known: not an error."""

    objects_without_row: list[StoredObject] = field(default_factory=list)
    rows_without_object: list[str] = field(default_factory=list)
    unfinished: int = 0
    blobs: int = 0

    def __str__(self) -> str:
        lines = [f"{self.blobs} blobs, {self.unfinished} uploads under way"]
        lines += [
            f"object without a row: {stored.key} ({stored.size_bytes} bytes)" for stored in self.objects_without_row
        ]
        lines += [f"blob without its object, or with another size: {key}" for key in self.rows_without_object]
        return "\n".join(lines)

    @property
    def is_clean(self) -> bool:
        return not self.objects_without_row and not self.rows_without_object


def check_storage() -> StorageReport:
    """Compare the default store with the database; changes nothing."""
    store = default_store()
    report = StorageReport()
    # The objects first: a blob committed meanwhile has its object listed or its row not yet read, never the other way
    # round.
    objects = {stored.key: stored for stored in store.objects()}
    uploads = _keys("SELECT storage_key, 0 FROM content_upload WHERE store = %s", store.name)
    blobs = _keys("SELECT storage_key, size_bytes FROM content_blob WHERE store = %s", store.name)
    for key, stored in objects.items():
        if key in uploads:
            report.unfinished += 1
        elif key not in blobs and store.size_bytes(key) is not None:
            report.objects_without_row.append(stored)
    for key, size_bytes in blobs.items():
        if store.size_bytes(key) != size_bytes:
            report.rows_without_object.append(key)
    report.blobs = len(blobs)
    return report


def _keys(statement: str, store: str) -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute(statement, [store])
        found: dict[str, int] = {}
        while rows := cursor.fetchmany(BATCH):
            found.update(rows)
    return found
