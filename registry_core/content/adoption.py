"""Adoption: an operator confirms that a store and this database belong together as they are.

Blobs of the store that the database lacks then no longer stop the sweep: their journal lines are withdrawn, and later
sweeps move the objects to the trash.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from registry_core.access import of_system
from registry_core.content import installation, upload_rows
from registry_core.content.acknowledged import acknowledged
from registry_core.content.compare import StorageReport, compare
from registry_core.content.events import StorageAdopted
from registry_core.content.installation import Standing
from registry_core.content.trash import give_back_missing
from registry_core.events.outbox import emit
from registry_core.storage.interface import ObjectStore
from registry_core.storage.stores import configured_stores

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of comparing one store with the database."""

    store: ObjectStore
    standing: Standing
    reason: str
    report: StorageReport

    @property
    def is_fit(self) -> bool:
        """Whether nothing prevents sweeping the store."""
        return self.standing is Standing.TOGETHER and not self.reason

    def __str__(self) -> str:
        report = self.report
        unknown_bytes = sum(stored.size_bytes for stored in report.objects_without_row)
        lines = [
            f"store {self.store.name}: {report.objects} objects ({report.objects_bytes} bytes)",
            f"  {report.blobs} blobs in the database, {len(report.rows_without_object)} of which have no object",
            f"  {len(report.objects_without_row)} objects ({unknown_bytes} bytes) that are not in the database: "
            "sweeps will move them to the trash",
        ]
        return "\n".join([*lines, f"  {self.reason or 'nothing prevents sweeping it'}"])


def findings() -> list[Finding]:
    """Compare the configured stores that are in use with the database; changes nothing. Raises StorageError."""
    return [_finding(store) for store in configured_stores() if installation.is_in_use(store)]


def adopt(finding: Finding) -> None:
    """Record that the store and the database belong together: the store gets the database's id, or the database the
    store's if it has none. Raises StorageError."""
    store = finding.store
    give_back_missing(store, finding.report.rows_without_object)
    unknown = {stored.key for stored in finding.report.objects_without_row}
    uploads = {upload.storage_key for upload in upload_rows.idle(0) if upload.store == store.name}
    known = acknowledged(store, keys=unknown, upload_keys=uploads)
    # All of them: the journal line of a recent push may still be on its way.
    store.withdraw(sorted(unknown | known.unknown | known.unsure), known_at_s=known.latest_s)
    installation.mark_together(store)
    _log.warning(
        "an operator confirmed that a store and this database belong together",
        store=store.name,
        objects_without_row=len(unknown),
        blobs_without_object=len(finding.report.rows_without_object),
        reason=finding.reason,
    )
    emit(
        StorageAdopted(store=store.name, objects_without_row=len(unknown), reason=finding.reason),
        cause=of_system("adoption"),
    )


def _finding(store: ObjectStore) -> Finding:
    report = StorageReport()
    compare(store, report)
    how, reason = installation.standing(store)
    return Finding(store, how, reason or installation.recorded_stop(store.name), report)
