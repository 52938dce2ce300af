"""Whether the object of a blob is there: the database can be right about a blob and the store have lost it."""

from __future__ import annotations

import structlog

from registry_core.digests import Digest
from registry_core.storage.interface import ObjectStore, StorageError, StoreNotConfigured
from registry_core.storage.stores import store_named

_log = structlog.get_logger(__name__)


def is_lost(*, store: str, key: str, size_bytes: int) -> bool:
    """Whether pushing the bytes again would help: the object is missing, has another size, or lies in a store that is
    not configured. False while nobody can tell because the store does not answer."""
    try:
        return store_named(store).size_bytes(key) != size_bytes
    except StoreNotConfigured:
        return True
    except StorageError:
        return False


def note(store: ObjectStore, digest: Digest, *, key: str, size_bytes: int) -> None:
    """Write into the store's journal that the database has this blob; after its transaction, which does not depend on
    it."""
    try:
        store.note(digest, key, size_bytes)
    except StorageError as error:  # without its line an object can be hashed to find out which it is
        _log.warning("a line of the journal was not written", store=store.name, key=key, reason=str(error))
