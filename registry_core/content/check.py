"""What an operator is told of the stores: what does not fit to the database, and why nothing is swept."""

from __future__ import annotations

from django.db import connection

from registry_core.content import installation
from registry_core.content.compare import StorageReport, compare
from registry_core.storage.interface import ObjectStore
from registry_core.storage.stores import configured_stores


def check_storage() -> StorageReport:
    """Compare all configured stores with the database; changes nothing. Raises StorageError."""
    report = StorageReport()
    stores = configured_stores()
    for store in stores:
        _compare(store, report)
        report.hints += store.hints()
    if report.rows_without_object:
        in_trash = {trashed.key for store in stores for trashed in store.trashed()}
        report.in_trash = len(in_trash.intersection(report.rows_without_object))
    report.stores_not_configured = stores_not_configured()
    return report


def stores_not_configured() -> dict[str, int]:
    """The stores that blobs lie in and the configuration does not name, with how many blobs: they cannot be pulled."""
    known = [store.name for store in configured_stores()]
    with connection.cursor() as cursor:
        cursor.execute("SELECT store, count(*) FROM content_blob WHERE store <> ALL(%s) GROUP BY store", [known])
        return dict(cursor.fetchall())


def _compare(store: ObjectStore, report: StorageReport) -> None:
    before = report.differences
    compare(store, report)
    how, reason = installation.standing(store)
    if report.differences > before and how is not installation.Standing.STRANGERS:
        reason = installation.remembered_stop(store.name) or reason
    is_stopped = how is installation.Standing.STRANGERS or report.differences > before
    if reason and is_stopped:
        report.stopped[store.name] = installation.with_advice(reason)
