"""The trash of the stores: removed objects until they expire. What the database turns out to need is restored."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import structlog
from django.db import connection

from registry_core.content.models import Blob
from registry_core.storage.interface import ObjectStore, TrashedObject
from registry_core.storage.stores import configured_stores

DAY_S = 86_400
_log = structlog.get_logger(__name__)


def list_trash() -> Iterator[tuple[ObjectStore, TrashedObject]]:
    """The content of each store's trash. Raises StorageError."""
    for store in configured_stores():
        for trashed in store.trashed():
            yield store, trashed


def restore(names: Iterable[str] | None) -> list[TrashedObject]:
    """Restore objects by their key or their name in the trash (None: all), as if they had just been written.

    Returns the restored ones. Raises StorageError.
    """
    wanted = None if names is None else set(names)
    return [
        trashed
        for store, trashed in list_trash()
        if (wanted is None or not wanted.isdisjoint({trashed.key, trashed.name})) and _given_back(store, trashed)
    ]


def give_back_missing(store: ObjectStore, keys: Iterable[str]) -> list[TrashedObject]:
    """Restore objects of these keys that blobs in the database need; returns the restored ones."""
    wanted = set(keys)
    return [trashed for trashed in store.trashed() if trashed.key in wanted and _given_back(store, trashed)]


def expire(store: ObjectStore, *, older_than_s: float, now_s: float | None = None) -> tuple[int, int]:
    """Delete what has been in the trash for longer, and restore what a blob in the database lacks; returns the number
    of both."""
    before_s = (time.time() if now_s is None else now_s) - older_than_s
    due = [trashed for trashed in store.trashed() if trashed.trashed_at_s <= before_s]
    named = _named_keys(store.name, {trashed.key for trashed in due})
    given_back = 0
    for trashed in due:
        if trashed.key in named and _given_back(store, trashed):
            given_back += 1
        else:
            _purge(store, trashed)
    return len(due) - given_back, given_back


def empty(*, older_than_s: float = 0.0) -> tuple[int, int]:
    """Do as `expire` in every store. Raises StorageError."""
    done = [expire(store, older_than_s=older_than_s) for store in configured_stores()]
    return sum(purged for purged, _ in done), sum(given_back for _, given_back in done)


def _purge(store: ObjectStore, trashed: TrashedObject) -> None:
    store.purge(trashed)
    _log.info(
        "an object in the trash was deleted for good",
        store=store.name,
        key=trashed.key,
        size_bytes=trashed.size_bytes,
        reason=f"it was there since {_when(trashed.trashed_at_s)}",
    )


def _given_back(store: ObjectStore, trashed: TrashedObject) -> bool:
    is_back = store.give_back(trashed)
    if is_back:
        _log.warning(
            "an object was given back from the trash",
            store=store.name,
            key=trashed.key,
            size_bytes=trashed.size_bytes,
        )
    return is_back


def _named_keys(store: str, keys: set[str]) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT storage_key FROM content_blob WHERE store = %s AND storage_key = ANY(%s) AND state <> %s",
            [store, list(keys), Blob.State.DELETING],
        )
        return {row[0] for row in cursor.fetchall()}


def _when(at_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))
