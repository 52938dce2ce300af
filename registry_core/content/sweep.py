"""The sweep: removes abandoned uploads, objects that no row names, and what has been in the trash long enough.

It removes what the database does not have, and a database can be the wrong one, or older than the store. So a store is
skipped if it and the database do not belong together or differ in age, if the journal has blobs that the database has
never had, and if more than a small share of the store would be removed. Removed objects stay in the trash for some
days.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import msgspec
import structlog
from django.db import transaction

from registry_core.access import of_system
from registry_core.config import get_config
from registry_core.content import installation, trash, upload_rows, uploads
from registry_core.content.acknowledged import acknowledged
from registry_core.content.events import StorageSwept
from registry_core.content.orphans import Orphans, find_orphans, remove_orphan, remove_unfinished
from registry_core.database.times import database_now
from registry_core.events.outbox import emit
from registry_core.storage.interface import ObjectStore, StorageError, StoredObject
from registry_core.storage.stores import configured_stores

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class SweepReport:
    """What was removed or (`is_dry_run`) would be removed. `stopped`: why a store was skipped, by its name."""

    is_dry_run: bool = False
    uploads: int = 0
    objects: list[StoredObject] = field(default_factory=list)
    unfinished: int = 0
    purged: int = 0
    given_back: int = 0
    stopped: dict[str, str] = field(default_factory=dict)

    @property
    def removed(self) -> int:
        """The number of uploads and objects removed."""
        return self.uploads + len(self.objects) + self.unfinished

    def __str__(self) -> str:
        verb = "would remove" if self.is_dry_run else "removed"
        named = self.objects if self.is_dry_run else []  # removed objects are in the log
        lines = [f"{verb} {stored.key} ({stored.size_bytes} bytes): no row names it" for stored in named]
        lines += [f"restored {self.given_back} objects from the trash that the database has"] * bool(self.given_back)
        lines += [f"{verb} {self.purged} objects from the trash for good"] * bool(self.purged)
        objects = len(self.objects) + self.unfinished
        return "\n".join([*lines, f"{verb} {self.uploads} uploads and {objects} objects without a row"])


def sweep(*, ttl_s: int, is_forced: bool = False, is_dry_run: bool = False) -> SweepReport:
    """Remove uploads, and objects without a row, that nobody wrote for `ttl_s` seconds, and what has been in the trash
    for `trash_days`.

    The name of a staged short upload protects the object that a request may be writing from it. If that process dies,
    the object is removed by the sweep after the one that removes the upload.

    `is_forced`: even if more than the usual share would be removed; other reasons still apply. `is_dry_run`: remove
    nothing.
    """
    report = SweepReport(is_dry_run)
    # By the slower of the clocks: a clock that was set forward must not age anything.
    now_s = min(time.time(), database_now().timestamp())
    for store in configured_stores():
        try:
            _sweep_store(store, report, ttl_s=ttl_s, now_s=now_s, is_forced=is_forced)
        except StorageError as error:  # the other stores are swept all the same
            reason = f"the sweep broke off: {error}"
            installation.record_stop(store.name, reason)
            report.stopped[store.name] = reason
    report.uploads = _sweep_uploads(report, ttl_s=ttl_s)
    if not is_dry_run:
        _log_report(report)
    return report


def _sweep_store(store: ObjectStore, report: SweepReport, *, ttl_s: int, now_s: float, is_forced: bool) -> None:
    if not installation.is_in_use(store):
        return
    reason = installation.why_not_to_sweep(store)
    if not reason:
        orphans = find_orphans(store, written_before_s=now_s - ttl_s)
        reason = _refusal(store, orphans, ttl_s=ttl_s, is_forced=is_forced)
        if reason:
            installation.record_stop(store.name, reason)
    if reason:
        report.stopped[store.name] = reason
    else:
        _remove(store, orphans, report)
        _expire(store, report, now_s=now_s)
        if not report.is_dry_run:
            installation.mark_together(store)


def _refusal(store: ObjectStore, orphans: Orphans, *, ttl_s: int, is_forced: bool) -> str:
    """Why these must not be removed; empty if they may. Objects that a quarantined blob needs are taken off the
    list."""
    idle = {upload.storage_key for upload in upload_rows.idle(ttl_s) if upload.store == store.name}
    if orphans.objects or idle:  # the default `ttl_s` is far longer than that
        time.sleep(max(0.0, store.journal_delay_s - ttl_s))
    known = acknowledged(store, keys={stored.key for stored in orphans.objects}, upload_keys=idle)
    if known.is_database_older:
        several = len(known.unknown | known.unsure)
        return (
            f"by the journal of the store {store.name}, {several} of the objects that would be removed are blobs that "
            "this database has never had: it is older than the store, or another installation writes to the store: "
            f"{installation.ADVICE}"
        )
    orphans.objects = [stored for stored in orphans.objects if stored.key not in known.awaited]
    if not is_forced and orphans.is_too_much(max_percent=get_config().sweep_max_percent):
        return (
            f"{len(orphans.objects)} of {orphans.all_objects} objects in the store {store.name} "
            f"({orphans.size_bytes} of {orphans.all_bytes} bytes) have no row, which is more than usual: see "
            "`portolan storage sweep --dry-run --force`, then run `portolan storage sweep --force`"
        )
    return ""


def _remove(store: ObjectStore, orphans: Orphans, report: SweepReport) -> None:
    if report.is_dry_run:
        report.objects += orphans.objects
        report.unfinished += len(orphans.unfinished)
        return
    to_trash = get_config().trash_days > 0
    for stored in orphans.objects:
        if remove_orphan(store, stored, to_trash=to_trash):
            report.objects.append(stored)
    for stored in orphans.unfinished:
        report.unfinished += remove_unfinished(store, stored)


def _expire(store: ObjectStore, report: SweepReport, *, now_s: float) -> None:
    older_than_s = get_config().trash_days * trash.DAY_S
    if report.is_dry_run:
        report.purged += sum(trashed.trashed_at_s <= now_s - older_than_s for trashed in store.trashed())
    else:
        purged, given_back = trash.expire(store, older_than_s=older_than_s, now_s=now_s)
        report.purged += purged
        report.given_back += given_back


def _sweep_uploads(report: SweepReport, *, ttl_s: int) -> int:
    if report.is_dry_run:
        return sum(upload.store not in report.stopped for upload in upload_rows.idle(ttl_s))
    return uploads.sweep_uploads(ttl_s=ttl_s, except_in=report.stopped)


@transaction.atomic
def _log_report(report: SweepReport) -> None:
    swept = StorageSwept(
        uploads=report.uploads,
        objects=len(report.objects),
        bytes=sum(stored.size_bytes for stored in report.objects),
        unfinished=report.unfinished,
        purged=report.purged,
        given_back=report.given_back,
    )
    if swept != StorageSwept():
        _log.info("the stores were swept", **msgspec.structs.asdict(swept))
        emit(swept, cause=of_system("sweep"))
