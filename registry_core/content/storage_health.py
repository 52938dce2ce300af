"""The health of the stores: whether they have exactly what the database says, and how much garbage waits for how long.

Listing a store takes minutes where there are millions of objects, so it is measured by a daily job and on request, and
the last result is kept.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db import connection

from registry_core.content import installation
from registry_core.content.compare import StorageReport, compare
from registry_core.content.models import Garbage, StoreMeasure
from registry_core.storage.interface import ObjectStore
from registry_core.storage.stores import configured_stores


@dataclass(frozen=True, slots=True)
class Measured:
    """One store as it was last compared with the database. `unfinished_bytes`: of uploads in progress; `unnamed`:
    objects that no row names; `missing`: blobs whose object is not there or has another size. Sizes are in bytes."""

    store: str
    objects: int
    store_bytes: int
    unfinished_bytes: int
    unnamed_objects: int
    unnamed_bytes: int
    missing_objects: int
    missing_bytes: int
    measured_at: dt.datetime

    @property
    def database_bytes(self) -> int:
        """What the store should have by the database, uploads in progress left out."""
        return self.store_bytes - self.unfinished_bytes - self.unnamed_bytes + self.missing_bytes

    @property
    def difference_bytes(self) -> int:
        """What the store has too much and too little. It should be 0."""
        return self.unnamed_bytes + self.missing_bytes

    def __str__(self) -> str:
        lines = [
            f"store {self.store} at {self.measured_at:%Y-%m-%dT%H:%M:%SZ}: {self.objects} objects, {self.store_bytes} "
            f"bytes, {self.unfinished_bytes} of them of uploads in progress",
            f"  in the database: {self.database_bytes} bytes; difference: {self.difference_bytes} bytes",
        ]
        lines += [f"  {self.unnamed_objects} objects ({self.unnamed_bytes} bytes) without a row"] * bool(
            self.unnamed_objects
        )
        lines += [f"  {self.missing_objects} blobs ({self.missing_bytes} bytes) without their object"] * bool(
            self.missing_objects
        )
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What garbage collection has still to do. `trash_deletions`: what can be restored; `expired_deletions`: what is to
    be purged; `candidates`: what is looked at again when it is due, with `candidate_bytes` of blobs; `doomed`: objects
    that are being deleted from their store, after `failed_objects` of which the store was asked in vain. Ages are in
    seconds; 0 if nothing waits."""

    trash_deletions: int
    expired_deletions: int
    candidates: int
    candidate_bytes: int
    oldest_candidate_s: int
    doomed_objects: int
    doomed_bytes: int
    failed_objects: int
    oldest_doomed_s: int

    def __str__(self) -> str:
        return "\n".join(
            [
                f"trash: {self.trash_deletions} deletions can be restored, {self.expired_deletions} have expired",
                f"garbage: {self.candidates} candidates ({self.candidate_bytes} bytes of blobs), the oldest "
                f"{self.oldest_candidate_s} s old",
                f"being deleted: {self.doomed_objects} objects ({self.doomed_bytes} bytes), the oldest for "
                f"{self.oldest_doomed_s} s; {self.failed_objects} could not be deleted so far",
            ]
        )


def measure_all() -> list[Measured]:
    """Compare each store that is in use with the database, and keep the result. Raises StorageError."""
    return [_measure(store) for store in configured_stores() if installation.is_in_use(store)]


def last_measured() -> list[Measured]:
    """The last result for each store."""
    return [_measured(row) for row in StoreMeasure.objects.order_by("store")]


def waiting() -> Waiting:
    """What waits for garbage collection now."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT (SELECT count(*) FROM content_deletion WHERE expires_at > now() AND NOT is_purging),
                   (SELECT count(*) FROM content_deletion WHERE expires_at <= now() OR is_purging),
                   (SELECT count(*) FROM content_garbage),
                   (SELECT coalesce(sum(size_bytes), 0)::bigint FROM content_garbage
                    JOIN content_blob AS blob ON blob.id = target_id WHERE kind = %s),
                   (SELECT coalesce(extract(epoch FROM now() - min(queued_at)), 0)::bigint FROM content_garbage),
                   count(*), coalesce(sum(size_bytes), 0)::bigint, count(*) FILTER (WHERE failure <> ''),
                   coalesce(extract(epoch FROM now() - min(doomed_at)), 0)::bigint
            FROM content_doomedobject
            """,
            [Garbage.Kind.BLOB],
        )
        return Waiting(*cursor.fetchall()[0])


def _measure(store: ObjectStore) -> Measured:
    report = StorageReport()
    compare(store, report)
    row, _ = StoreMeasure.objects.update_or_create(
        store=store.name,
        defaults={
            "object_count": report.objects,
            "object_bytes": report.objects_bytes,
            "unfinished_bytes": report.unfinished_bytes,
            "unnamed_objects": len(report.objects_without_row),
            "unnamed_bytes": sum(stored.size_bytes for stored in report.objects_without_row),
            "missing_objects": len(report.rows_without_object),
            "missing_bytes": report.missing_bytes,
            "measured_at": dt.datetime.now(dt.UTC),
        },
    )
    return _measured(row)


def _measured(row: StoreMeasure) -> Measured:
    return Measured(
        row.store,
        row.object_count,
        row.object_bytes,
        row.unfinished_bytes,
        row.unnamed_objects,
        row.unnamed_bytes,
        row.missing_objects,
        row.missing_bytes,
        row.measured_at,
    )
