"""Compares the stores with the database: objects without a row, and rows without an object."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.db import connection

from registry_core.content.models import Blob
from registry_core.storage.interface import ObjectStore, StoredObject

BATCH = 10_000


@dataclass(slots=True)
class StorageReport:
    """The differences. `unfinished` are objects of uploads in progress: not an error. `hints` are recommended changes
    to a store: not an error either. `stopped`: why a store is not swept. `in_trash`: how many of the missing objects
    are in the trash. `objects`, `objects_bytes`: totals of the stores. Quarantined blobs are known to be damaged or
    missing, and their objects may have come back. `doomed`: objects that are being deleted."""

    objects_without_row: list[StoredObject] = field(default_factory=list)
    unfinished_without_row: list[StoredObject] = field(default_factory=list)
    rows_without_object: list[str] = field(default_factory=list)
    quarantined_with_object: list[StoredObject] = field(default_factory=list)
    quarantined_without_object: list[str] = field(default_factory=list)
    stores_not_configured: dict[str, int] = field(default_factory=dict)
    hints: list[str] = field(default_factory=list)
    stopped: dict[str, str] = field(default_factory=dict)
    in_trash: int = 0
    objects: int = 0
    objects_bytes: int = 0
    unfinished: int = 0
    quarantined: int = 0
    blobs: int = 0
    doomed: int = 0
    missing_bytes: int = 0
    unfinished_bytes: int = 0

    def __str__(self) -> str:
        lines = [f"{self.blobs} blobs, {self.unfinished} uploads under way"]
        lines += [f"{self.doomed} objects are being deleted: see `portolan gc`"] * bool(self.doomed)
        lines += [f"{self.quarantined} blobs in quarantine: push them again to heal them"] if self.quarantined else []
        lines += [
            f"object without a row: {stored.key} ({stored.size_bytes} bytes)" for stored in self.objects_without_row
        ]
        lines += [f"unfinished object without a row: {stored.key}" for stored in self.unfinished_without_row]
        lines += [f"blob whose object is missing or has another size: {key}" for key in self.rows_without_object]
        lines += [f"{self.in_trash} of these are in the trash: --repair restores them"] * bool(self.in_trash)
        lines += [f"the store {name} is not swept: {reason}" for name, reason in self.stopped.items()]
        lines += [
            f"{blobs} blobs in the store {name}, which is not configured"
            for name, blobs in self.stores_not_configured.items()
        ]
        lines += ["the stores match the database"] if self.is_clean else []
        lines += [f"hint: {hint}" for hint in self.hints]
        return "\n".join(lines)

    @property
    def differences(self) -> int:
        """The number of objects without a row and of blobs without an object."""
        return len(self.objects_without_row) + len(self.rows_without_object)

    @property
    def is_clean(self) -> bool:
        return not (
            self.objects_without_row
            or self.unfinished_without_row
            or self.rows_without_object
            or self.stores_not_configured
            or self.stopped
        )


def compare(store: ObjectStore, report: StorageReport) -> None:
    """Add the differences between one store and the database to the report."""
    # The objects first: a blob that is committed meanwhile either has its object listed or its row not read yet, never
    # the other way round.
    objects = {stored.key: stored for stored in store.objects()}
    report.objects += len(objects)
    report.objects_bytes += sum(stored.size_bytes for stored in objects.values())
    unfinished = list(store.unfinished())
    staged = store.staged()
    uploads = staged | _keys("SELECT storage_key, 0 FROM content_upload WHERE store = %s", store.name)
    # In one snapshot, since a blob becomes a doomed object. Quarantined blobs are known to be damaged or missing, and
    # wait for a push; doomed objects are being deleted, and may be gone already.
    named = _named(store.name)
    blobs, waiting, doomed = named[Blob.State.LIVE], named[Blob.State.QUARANTINED], named[Blob.State.DELETING]
    report.quarantined += len(waiting)
    report.quarantined_with_object += [
        stored
        for key, size_bytes in waiting.items()
        if (stored := objects.get(key)) and stored.size_bytes == size_bytes
    ]
    report.quarantined_without_object += [key for key in waiting if key not in objects]
    under_way = {stored.upload_key for stored in (*objects.values(), *unfinished) if stored.key not in blobs}
    report.unfinished += len(under_way & uploads.keys() | {key for key, is_here in staged.items() if is_here})
    report.blobs += len(blobs)
    unnamed = [
        stored
        for stored in objects.values()
        if stored.key not in blobs and stored.key not in waiting and stored.key not in doomed
    ]
    unknown = [stored for stored in unnamed if stored.upload_key not in uploads]
    report.unfinished_bytes += sum(stored.size_bytes for stored in unnamed if stored.upload_key in uploads)
    unknown = [stored for stored in unknown if store.size_bytes(stored.key) is not None]
    report.objects_without_row += unknown
    report.doomed += len(doomed)
    report.unfinished_without_row += [
        stored for stored in unfinished if stored.key not in blobs and stored.upload_key not in uploads
    ]
    missing = [key for key, size_bytes in blobs.items() if not _is_there(store, key, size_bytes, objects.get(key))]
    missing = _still_living(store.name, missing)
    report.rows_without_object += missing
    report.missing_bytes += sum(blobs[key] for key in missing)


def _is_there(store: ObjectStore, key: str, size_bytes: int, listed: StoredObject | None) -> bool:
    # An object may have been added after it was listed: only then is the store asked for a single object.
    return (listed is not None and listed.size_bytes == size_bytes) or store.size_bytes(key) == size_bytes


def _named(store: str) -> dict[int, dict[str, int]]:
    """The sizes of the objects that the database names, by their keys, by the state of their blob."""
    found: dict[int, dict[str, int]] = {state: {} for state in Blob.State}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT state, storage_key, size_bytes FROM content_blob WHERE store = %s AND state <> %s
            UNION ALL SELECT %s, storage_key, size_bytes FROM content_doomedobject WHERE store = %s
            """,
            [store, Blob.State.DELETING, Blob.State.DELETING, store],
        )
        while rows := cursor.fetchmany(BATCH):
            for state, key, size_bytes in rows:
                found[state][key] = size_bytes
    return found


def _still_living(store: str, keys: list[str]) -> list[str]:
    """Those that were not collected as garbage meanwhile."""
    if not keys:
        return keys
    living = _keys(
        "SELECT storage_key, 0 FROM content_blob WHERE store = %s AND state = %s AND storage_key = ANY(%s)",
        store,
        Blob.State.LIVE,
        keys,
    )
    return [key for key in keys if key in living]


def _keys(statement: str, *values: str | int | list[str]) -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        found: dict[str, int] = {}
        while rows := cursor.fetchmany(BATCH):
            found.update(rows)
    return found
