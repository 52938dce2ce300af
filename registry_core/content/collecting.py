"""Garbage collection: what was deleted long enough ago, and what nothing uses any more, is removed for good.

It runs beside pushes and pulls, locks only what it removes, and can be stopped, killed and repeated at any point: each
step is a transaction that looks again, under its locks, at whether something is still unused.
docs/garbage-collection.md explains why the result is right.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec
import structlog

from registry_core.access import Cause
from registry_core.config import get_config
from registry_core.content import installation, unused_blobs, unused_links, unused_rows, uploads
from registry_core.content.deletions import purgeable
from registry_core.content.events import GarbageCollected
from registry_core.content.garbage_plan import plan
from registry_core.content.models import DoomedObject, Garbage
from registry_core.content.purging import purge_deletion
from registry_core.content.read_only import check_writable
from registry_core.content.reporters import Reporter
from registry_core.content.unqueued import queue_unqueued
from registry_core.content.untagged import delete_untagged, find_untagged
from registry_core.events.outbox import emit
from registry_core.storage.interface import ObjectStore, StorageError
from registry_core.storage.stores import configured_stores

REASON: Final = "gc"
"""The reason in the cause of what a run does."""
WORKERS_MAX: Final = 5
CHECK_EVERY: Final = 1000
_COUNTED: Final = {"blob": "objects", "manifest": "manifests", "deletion": "deletions"}
_log = structlog.get_logger(__name__)


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of a run.

    `delete_untagged`: first delete artifacts without a tag that nothing refers to; they go to the trash. `delete_tag`:
    accepted for clients of Harbor, where it also removes the files of tags; here a tag is a row that goes with its
    deletion. `dry_run`: remove nothing, and list what would be removed. `workers`: how many batches the store is asked
    to delete at a time. `empty_trash`: also remove what could still be restored.
    """

    delete_untagged: bool = False
    delete_tag: bool = False
    dry_run: bool = False
    workers: Annotated[int, msgspec.Meta(ge=1, le=WORKERS_MAX)] = 1
    empty_trash: bool = False


@dataclass(slots=True)
class Collected:
    """What a run removed. `freed_bytes`: what the stores had for the objects before; a store that still has an object
    counts it among `left`. `stopped`: why nothing was deleted from a store, by its name."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(GarbageCollected.__struct_fields__, 0))
    stopped: dict[str, str] = field(default_factory=dict)
    is_dry_run: bool = False

    @property
    def freed_bytes(self) -> int:
        return self.counts["bytes"]

    @property
    def left(self) -> int:
        """Objects that are to be deleted and were not."""
        return self.counts["left"]

    def result(self) -> dict[str, Any]:
        """What is kept of the run."""
        return {"freed_bytes": self.freed_bytes, **{name: count for name, count in self.counts.items() if count}} | (
            {"stopped": self.stopped} if self.stopped else {}
        )

    def __str__(self) -> str:
        said = [f"{name} {count}" for name, count in self.counts.items() if count and name not in {"bytes", "left"}]
        removed, freed = ("would remove", "would free") if self.is_dry_run else ("removed", "freed")
        lines = [f"{removed}: {', '.join(said) or 'nothing'}; {freed} {self.freed_bytes} bytes in the stores"]
        lines += [f"{self.left} objects could not be deleted: see above"] * bool(self.left)
        lines += [f"nothing was deleted from the store {name}: {reason}" for name, reason in self.stopped.items()]
        return "\n".join(lines)


def collect_garbage(parameters: Parameters, reporter: Reporter, *, cause: Cause) -> Collected:
    """Do one run. What the reporter raises ends it between two steps, and nothing is left half done.

    Raises Refused while the registry is read only. A store that fails, or does not belong to this database, is reported
    and left for the next run.
    """
    if parameters.dry_run:
        return _dry_run(parameters, reporter)
    check_writable()
    run = _Run(parameters, reporter, cause)
    run.collect()
    return run.collected


def _dry_run(parameters: Parameters, reporter: Reporter) -> Collected:
    """Say what a run would remove. `counts` has what it would remove itself, without what waits for a later run."""
    collected = Collected(is_dry_run=True)
    counts = collected.counts
    if parameters.delete_untagged:
        for untagged in find_untagged(reporter):
            counts["untagged"] += 1
            reporter.log(f"would delete {untagged.name}@{untagged.digest}: it has no tag, and nothing refers to it")
    for number, planned in enumerate(plan(is_trash_emptied=parameters.empty_trash)):
        if number % CHECK_EVERY == 0:
            reporter.check()
        reporter.log(str(planned))
        counts[_COUNTED[planned.sort]] += planned.is_now
        counts["bytes"] += planned.size_bytes if planned.is_now and planned.sort == "blob" else 0
    reporter.log(str(collected))
    return collected


class _Run:
    """One run, and what it has removed so far."""

    def __init__(self, parameters: Parameters, reporter: Reporter, cause: Cause) -> None:
        self._parameters = parameters
        self._reporter = reporter
        self._cause = cause
        self.collected = Collected()

    def collect(self) -> None:
        started_s = time.monotonic()
        if self._parameters.delete_untagged:
            self._count("untagged", delete_untagged(self._reporter, self._cause))
        self._purge()
        stores = self._ready_stores()
        self._sweep_uploads()
        queue_unqueued(self._reporter)
        self._count("links", unused_links.remove_unused(self._reporter, self._cause))
        self._count("manifests", unused_rows.remove_manifests(self._reporter))
        unused_blobs.doom_unused(self._reporter, stores=[store.name for store in stores])
        for store in stores:
            self._delete(store)
        self._count("repositories", unused_rows.remove_repositories(self._reporter))
        self._count("projects", unused_rows.remove_projects(self._reporter))
        self._end(time.monotonic() - started_s)

    def _count(self, name: str, count: int) -> None:
        self.collected.counts[name] += count

    def _purge(self) -> None:
        """Purge the deletions whose time is over."""
        deletions = purgeable(is_everything=self._parameters.empty_trash)
        for deletion_id in list(deletions.values_list("pk", flat=True)):
            self._reporter.check()
            purged = purge_deletion(deletion_id, fenced=self._reporter.fenced, check=self._reporter.check)
            self._count("deletions", purged.deletions)
            self._count("artifacts", purged.artifacts)
            self._count("tags", purged.tags)

    def _ready_stores(self) -> list[ObjectStore]:
        ready = []
        for store in configured_stores():
            self._reporter.check()
            reason = why_not_to_delete(store)
            if reason:
                self.collected.stopped[store.name] = reason
            else:
                ready.append(store)
        return ready

    def _sweep_uploads(self) -> None:
        ttl_s = get_config().upload_ttl_s
        self._count("uploads", uploads.sweep_uploads(ttl_s=ttl_s, except_in=self.collected.stopped))

    def _delete(self, store: ObjectStore) -> None:
        freed = unused_blobs.delete_doomed(self._reporter, store, workers=self._parameters.workers)
        self._count("objects", freed.objects)
        self._count("bytes", freed.bytes)
        self._count("left", freed.left)

    def _end(self, took_s: float) -> None:
        counts = {name: count for name, count in self.collected.counts.items() if count}
        for line in str(self.collected).splitlines():
            self._reporter.log(line)
        waiting = waiting_count()
        if waiting:
            self._reporter.log(f"{waiting} candidates are not due yet, or in use: the next run looks at them again")
        if counts:
            _log.info("garbage was collected", took_s=round(took_s, 3), **counts)
            with self._reporter.fenced():
                emit(GarbageCollected(**counts), cause=self._cause)


def why_not_to_delete(store: ObjectStore) -> str:
    """Why nothing may be deleted from the store now: it does not belong to this database in its present state, or does
    not answer. Empty if it may."""
    try:
        return installation.why_not_to_sweep(store) if installation.is_in_use(store) else ""
    except StorageError as error:
        return str(error)


def waiting_count() -> int:
    """How many candidates and doomed objects wait for the next run."""
    return Garbage.objects.count() + DoomedObject.objects.count()
