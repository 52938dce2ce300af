"""The scrub: reads and hashes every blob, at a bounded rate, round after round; damaged blobs are quarantined.

Its position is stored in the database, so the next run continues there, on any machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import connection, transaction

from registry_core.content import installation
from registry_core.content.models import Blob
from registry_core.content.quarantine import quarantine
from registry_core.digests import ALGORITHMS, Digest
from registry_core.storage.hashing import new_hash
from registry_core.storage.interface import ObjectMissing, StoreNotConfigured
from registry_core.storage.stores import store_named

CURSOR = "scrub"


@dataclass(frozen=True, slots=True)
class _Stored:
    id: int
    digest: Digest
    store: str
    key: str


@dataclass(slots=True)
class ScrubReport:
    """The result of one run."""

    blobs: int = 0
    read_bytes: int = 0
    damaged: list[str] = field(default_factory=list)
    skipped: int = 0
    is_round_complete: bool = False

    def __str__(self) -> str:
        lines = [f"damaged, quarantined: {digest}; push it again to heal it" for digest in self.damaged]
        lines += [f"{self.skipped} blobs are in a store that is not configured, and were not read"] * bool(self.skipped)
        end = "the round is complete" if self.is_round_complete else "the next run continues from here"
        return "\n".join([*lines, f"{self.blobs} blobs, {self.read_bytes} bytes read: {end}"])


def scrub(
    *,
    rate_bytes_s: int,
    limit_s: float | None = None,
    is_from_start: bool = False,
    on_blob: Callable[[ScrubReport], None] | None = None,
) -> ScrubReport:
    """Read and hash blobs from where the last run ended, no faster than `rate_bytes_s`, to the end of the round or for
    `limit_s` seconds. Raises StorageError if the store fails, which says nothing about a blob."""
    if is_from_start:
        _record_position(0)
    report, started_s = ScrubReport(), time.monotonic()
    while limit_s is None or time.monotonic() - started_s < limit_s:
        blob = _next()
        if blob is None:
            _record_position(0)
            report.is_round_complete = True
            break
        if not _is_sound(blob, report, rate_bytes_s, started_s):
            digest = quarantine(store=blob.store, key=blob.key, reason="its bytes do not have its digest")
            report.damaged += [str(digest)] if digest else []
        report.blobs += 1
        _record_position(blob.id)
        if on_blob is not None:
            on_blob(report)
    return report


def _is_sound(blob: _Stored, report: ScrubReport, rate_bytes_s: int, started_s: float) -> bool:
    running = new_hash(blob.digest.algorithm)
    try:
        store = store_named(blob.store)
    except StoreNotConfigured:
        report.skipped += 1
        return True
    try:
        for chunk in store.read(blob.key):
            running.update(chunk)
            report.read_bytes += len(chunk)
            _hold_back(report.read_bytes, rate_bytes_s, started_s)
    except ObjectMissing:
        installation.refuse_unless_ours(store)
        return False
    return Digest(bytes([ALGORITHMS[blob.digest.algorithm]]) + running.digest()) == blob.digest


def _hold_back(read_bytes: int, rate_bytes_s: int, started_s: float) -> None:
    ahead_s = read_bytes / rate_bytes_s - (time.monotonic() - started_s)
    if ahead_s > 0:
        time.sleep(ahead_s)


def _next() -> _Stored | None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, digest, store, storage_key FROM content_blob
            WHERE id > coalesce((SELECT seq FROM events_cursor WHERE name = %s), 0) AND state = %s ORDER BY id LIMIT 1
            """,
            [CURSOR, Blob.State.LIVE],
        )
        row = cursor.fetchone()
    return None if row is None else _Stored(row[0], Digest(bytes(row[1])), row[2], row[3])


@transaction.atomic
def _record_position(blob_id: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO events_cursor (name, seq) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET seq = excluded.seq",
            [CURSOR, blob_id],
        )
