"""Blobs that nothing refers to: doomed under their row lock, deleted from their store, and forgotten once the store has
confirmed that the object is gone.

A push that brings a doomed blob again gives its row the new object (`blobs.store_blob`); the old one goes all the same.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog
from django.db import connection
from django.db.models import QuerySet

from registry_core.content import garbage
from registry_core.content.garbage import Candidate
from registry_core.content.models import Blob, DoomedObject, Garbage
from registry_core.content.reporters import Reporter
from registry_core.storage.interface import BATCH_MAX, ObjectStore, Removal, StorageError

BATCH: Final = 1000
POLL_S: Final = 0.2
_log = structlog.get_logger(__name__)

_LOCK: Final = "SELECT id FROM content_blob WHERE id = ANY(%s) ORDER BY id FOR UPDATE SKIP LOCKED"
# Whoever links a blob, or uses it, has locked its row before; so a locked blob without a reference gets none.
_UNUSED: Final = f"""
    SELECT id, store FROM content_blob AS blob WHERE id = ANY(%s) AND state <> {Blob.State.DELETING:d}
      AND NOT EXISTS (SELECT FROM content_repositoryblob WHERE blob_id = blob.id)
      AND NOT EXISTS (SELECT FROM content_artifactblob WHERE blob_id = blob.id)
"""  # noqa: S608 a constant
_DOOM: Final = f"""
    WITH doomed AS (
        UPDATE content_blob SET state = {Blob.State.DELETING:d} WHERE id = ANY(%s)
        RETURNING id, store, storage_key, size_bytes
    )
    INSERT INTO content_doomedobject (blob_id, store, storage_key, size_bytes)
    SELECT id, store, storage_key, size_bytes FROM doomed ORDER BY id
    ON CONFLICT (store, storage_key) DO NOTHING
"""  # noqa: S608 a constant
_FORGET: Final = f"""
    WITH gone AS (DELETE FROM content_doomedobject WHERE id = ANY(%s) RETURNING blob_id, store, storage_key)
    DELETE FROM content_blob AS blob USING gone
    WHERE blob.id = gone.blob_id AND blob.state = {Blob.State.DELETING:d}
      AND blob.store = gone.store AND blob.storage_key = gone.storage_key
"""  # noqa: S608 a constant
_NOTE_FAILURES: Final = """
    UPDATE content_doomedobject AS doomed SET attempts = attempts + 1, failure = found.failure
    FROM unnest(%s::bigint[], %s::text[]) AS found (id, failure) WHERE doomed.id = found.id
"""


class Doomed(NamedTuple):
    """An object that is to be deleted from its store."""

    id: int
    storage_key: str
    size_bytes: int


@dataclass(slots=True)
class Freed:
    """What became of doomed objects. `bytes`: as the store had them before. `left`: objects that are still there, or
    whose store did not answer; `failures` has some of the reasons."""

    objects: int = 0
    bytes: int = 0
    left: int = 0
    failures: dict[str, str] = field(default_factory=dict)


def doom_unused(reporter: Reporter, *, stores: Collection[str], targets: Collection[int] | None = None) -> int:
    """Decide that the queued blobs that nothing refers to are deleted; returns their number. Only those in `stores`,
    and, if given, `targets`."""
    doomed = 0
    for batch in garbage.due(Garbage.Kind.BLOB, limit=BATCH, targets=targets):
        reporter.check()
        with reporter.fenced():
            doomed += _doom(batch, stores)
    return doomed


def _doom(batch: list[Candidate], stores: Collection[str]) -> int:
    ids = [each.target_id for each in batch]
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [ids])
        locked = {row[0] for row in cursor.fetchall()}
        cursor.execute(_UNUSED, [ids])
        unused: dict[int, str] = dict(cursor.fetchall())
        doomed = sorted(blob_id for blob_id, store in unused.items() if blob_id in locked and store in stores)
        cursor.execute(_DOOM, [doomed])
    waiting = unused.keys() - set(doomed)
    garbage.settle([each for each in batch if each.target_id not in waiting])
    return len(doomed)


def delete_doomed(
    reporter: Reporter, store: ObjectStore, *, workers: int, blob_ids: Collection[int] | None = None
) -> Freed:
    """Delete the doomed objects of a store, with so many requests at a time, and forget those that are gone. Each is
    tried once. `blob_ids`: only the objects of these blobs."""
    freed, total = Freed(), _count(store.name, blob_ids)
    with ThreadPoolExecutor(workers, thread_name_prefix="gc") as pool, _stopping() as is_stopping:
        batches = _batches(store.name, blob_ids)
        running: dict[Future[list[Removal]], list[Doomed]] = {}
        while True:
            while len(running) < workers and (batch := next(batches, None)) is not None:
                keys = [doomed.storage_key for doomed in batch]
                running[pool.submit(_delete, store, keys, is_stopping)] = batch
            if not running:
                return freed
            for ended in _ended(running, reporter):
                _settle(running.pop(ended), ended, freed, reporter)
            reporter.progress(freed.objects + freed.left, total)


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that is set when the block ends, so that threads that it left behind end too."""
    event = threading.Event()
    try:
        yield event
    finally:
        event.set()


def _delete(store: ObjectStore, keys: list[str], is_stopping: threading.Event) -> list[Removal]:
    # An object whose deletion a power cut undoes must not look like a blob that this database has lost.
    store.withdraw(keys)
    return store.delete_batch(keys, is_stopping=is_stopping.is_set)


def _ended(running: Iterable[Future[list[Removal]]], reporter: Reporter) -> set[Future[list[Removal]]]:
    """Wait for any of them."""
    while True:
        reporter.check()
        ended, _ = wait(running, timeout=POLL_S, return_when=FIRST_COMPLETED)
        if ended:
            return ended


def _settle(batch: list[Doomed], ended: Future[list[Removal]], freed: Freed, reporter: Reporter) -> None:
    """Forget what is gone, and note why the rest is not."""
    try:
        removals = {removal.key: removal for removal in ended.result()}
        missing = "the store was not asked"
    except StorageError as error:
        removals, missing = {}, str(error)
    gone, failures = [], {}
    for doomed in batch:
        removal = removals.get(doomed.storage_key)
        if removal is not None and not removal.failure:
            gone.append(doomed.id)
            freed.objects, freed.bytes = freed.objects + 1, freed.bytes + removal.freed_bytes
        else:
            failures[doomed.id] = removal.failure if removal else missing
    with reporter.fenced(), connection.cursor() as cursor:
        cursor.execute(_FORGET, [gone])
        cursor.execute(_NOTE_FAILURES, [list(failures), list(failures.values())])
    _tell(batch, failures, freed, reporter)


def _tell(batch: list[Doomed], failures: dict[int, str], freed: Freed, reporter: Reporter) -> None:
    freed.left += len(failures)
    reasons = dict.fromkeys(failures.values())
    for reason in reasons:
        count = sum(failure == reason for failure in failures.values())
        reporter.log(f"{count} of {len(batch)} objects were not deleted, and are tried again by the next run: {reason}")
        _log.warning("objects were not deleted", objects=count, reason=reason)
    freed.failures |= {doomed.storage_key: failures[doomed.id] for doomed in batch if doomed.id in failures}


def _batches(store: str, blob_ids: Collection[int] | None) -> Iterator[list[Doomed]]:
    last = 0
    while True:
        rows = _rows(store, blob_ids).filter(pk__gt=last).order_by("pk")
        batch = [Doomed(*row) for row in rows.values_list("pk", "storage_key", "size_bytes")[:BATCH_MAX]]
        if not batch:
            return
        last = batch[-1].id
        yield batch


def _rows(store: str, blob_ids: Collection[int] | None) -> QuerySet[DoomedObject]:
    rows = DoomedObject.objects.filter(store=store)
    return rows if blob_ids is None else rows.filter(blob_id__in=blob_ids)


def _count(store: str, blob_ids: Collection[int] | None) -> int:
    return _rows(store, blob_ids).count()
