"""The stores of this installation, by the name that a blob's row carries."""

from __future__ import annotations

import functools

from registry_core.config import get_config
from registry_core.storage.filesystem import FilesystemStore
from registry_core.storage.interface import ObjectStore


@functools.cache
def _filesystem() -> FilesystemStore:
    store = FilesystemStore(get_config().data)
    store.prepare()
    return store


def default_store() -> ObjectStore:
    """The store that new blobs go to."""
    return _filesystem()


def store_named(name: str) -> ObjectStore:
    """The store with that name. Raises LookupError."""
    if name != FilesystemStore.name:
        raise LookupError(f"no store is called {name!r}")
    return _filesystem()
