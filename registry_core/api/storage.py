"""`/system/gc` as the contract has it, and `/system/storage`: garbage collection and the health of the stores."""

from __future__ import annotations

from typing import Final

from rest_framework.request import Request
from rest_framework.response import Response

from registry_core.api import system_jobs
from registry_core.api.base import ApiView
from registry_core.api.messages import Answer, Time, api_time
from registry_core.api.openapi import operation
from registry_core.api.permissions import in_system
from registry_core.api.system_jobs import GCHistory, SystemJob
from registry_core.content import storage_health
from registry_core.content.storage_health import Measured
from registry_core.content.tasks import collect

GC: Final = SystemJob(
    collect,
    "system/gc",
    "garbage-collection",
    "gc",
    ("getGCHistory", "getGC", "stopGC", "getGCLog", "getGCSchedule", "createGCSchedule", "updateGCSchedule"),
    GCHistory,
)
gc_patterns: Final = system_jobs.patterns(GC, "gc_id")


class StoreAnswer(Answer, kw_only=True):
    """One store when it was last compared with the database, in bytes. `difference_bytes`, which should be 0: what it
    has without a row (`unnamed`), and what it lacks (`missing`)."""

    store: str
    objects: int
    store_bytes: int
    database_bytes: int
    unfinished_bytes: int
    difference_bytes: int
    unnamed_objects: int
    unnamed_bytes: int
    missing_objects: int
    missing_bytes: int
    measured_at: Time


class WaitingAnswer(Answer, kw_only=True):
    """What garbage collection has still to do, with ages in seconds."""

    trash_deletions: int
    expired_deletions: int
    candidates: int
    candidate_bytes: int
    oldest_candidate_s: int
    doomed_objects: int
    doomed_bytes: int
    failed_objects: int
    oldest_doomed_s: int


class StorageAnswer(Answer, kw_only=True):
    """The health of the stores. `stores` is empty until they are first compared, by a job or `portolan storage
    health`."""

    stores: list[StoreAnswer]
    garbage: WaitingAnswer


class StorageView(ApiView):
    """`/system/storage`."""

    access = {"GET": in_system("garbage-collection", "read")}

    @operation("getStorageHealth", "gc", answer=StorageAnswer, errors=(401, 403))
    def get(self, _request: Request) -> Response:
        """Get what the stores have and what the database says, as last measured, and the garbage that waits now."""
        waiting = storage_health.waiting()
        fields = {name: getattr(waiting, name) for name in WaitingAnswer.__struct_fields__}
        stores = [_store(measured) for measured in storage_health.last_measured()]
        return Response(StorageAnswer(stores=stores, garbage=WaitingAnswer(**fields)))


def _store(measured: Measured) -> StoreAnswer:
    fields = {name: getattr(measured, name) for name in StoreAnswer.__struct_fields__ if name != "measured_at"}
    return StoreAnswer(**fields, measured_at=api_time(measured.measured_at))
