"""The report for operators: differences between the stores and the database, and why a store is not swept."""

from __future__ import annotations

from django.db import connection

from registry_core.content import installation
from registry_core.content.compare import StorageReport, compare
from registry_core.content.installation import Standing
from registry_core.storage.interface import ObjectStore
from registry_core.storage.stores import configured_stores


def check_storage() -> StorageReport:
    """Compare all configured stores with the database. Changes nothing, except that a store that matches in every
    respect is marked as belonging to the database if that was undecided. Raises StorageError."""
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
    """The stores that hold blobs but are not configured, with the number of their blobs, which cannot be pulled."""
    known = [store.name for store in configured_stores()]
    with connection.cursor() as cursor:
        cursor.execute("SELECT store, count(*) FROM content_blob WHERE store <> ALL(%s) GROUP BY store", [known])
        return dict(cursor.fetchall())


def _compare(store: ObjectStore, report: StorageReport) -> None:
    before = report.differences
    compare(store, report)
    how, reason = installation.standing(store)
    is_fitting = report.differences == before
    if how is Standing.UNSURE and is_fitting and installation.is_in_use(store):
        installation.mark_together(store)
    elif how is not Standing.STRANGERS:
        reason = installation.recorded_stop(store.name) or reason
    if reason and (how is Standing.STRANGERS or not is_fitting):
        report.stopped[store.name] = installation.with_advice(reason)
