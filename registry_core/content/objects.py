"""Whether the object of a blob exists: the store may have lost an object whose blob is correct in the database."""

from __future__ import annotations

import structlog

from registry_core.digests import Digest
from registry_core.storage.interface import ObjectStore, StorageError, StoreNotConfigured
from registry_core.storage.stores import store_named

_log = structlog.get_logger(__name__)


def is_lost(*, store: str, key: str, size_bytes: int) -> bool:
    """Whether pushing the bytes again would help: the object is missing, has another size, or is in a store that is not
    configured. False while the store does not answer."""
    try:
        return store_named(store).size_bytes(key) != size_bytes
    except StoreNotConfigured:
        return True
    except StorageError:
        return False


def note(store: ObjectStore, digest: Digest, *, key: str, size_bytes: int) -> None:
    """Write a blob's line into the store's journal; after its transaction, which does not depend on it."""
    try:
        store.note(digest, key, size_bytes)
    except StorageError as error:  # without a line, the object can still be identified by its hash
        _log.warning("a line of the journal was not written", store=store.name, key=key, reason=str(error))
