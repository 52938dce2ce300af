"""The stores of this installation, by the name in a blob's row."""

from __future__ import annotations

import atexit
import functools
import os
from typing import TYPE_CHECKING

from registry_core.config import get_config
from registry_core.storage.filesystem import FilesystemStore
from registry_core.storage.interface import ObjectStore, StoreNotConfigured

if TYPE_CHECKING:
    from registry_core.storage.s3 import S3Store


_REMEDIES = {"s3": ": set PORTOLAN_S3_BUCKET and the other settings of that bucket"}


@functools.cache
def _filesystem() -> FilesystemStore:
    store = FilesystemStore(get_config().data)
    store.prepare()
    return store


@functools.cache
def _s3() -> S3Store:
    from registry_core.storage.s3 import S3Store  # importing boto3 takes a while, and most installations do not need it

    store = S3Store(get_config())
    atexit.register(store.flush)
    return store


# A forked child must not use its parent's connections.
os.register_at_fork(after_in_child=_s3.cache_clear)


def default_store() -> ObjectStore:
    """The store that new blobs go to."""
    return store_named(get_config().storage)


def store_named(name: str) -> ObjectStore:
    """The store with that name. Raises StoreNotConfigured."""
    if name == FilesystemStore.name:
        return _filesystem()
    if name == "s3" and get_config().s3_bucket:
        return _s3()
    raise StoreNotConfigured(f"the content is in the store {name!r}, which is not configured{_REMEDIES.get(name, '')}")


def configured_stores() -> list[ObjectStore]:
    """All stores that may hold blobs, the default one first."""
    names = [get_config().storage, FilesystemStore.name, *(["s3"] if get_config().s3_bucket else [])]
    return [store_named(name) for name in dict.fromkeys(names)]


def flush_stores() -> None:
    """Write what the stores have buffered, before the process ends."""
    if _s3.cache_info().currsize:
        _s3().flush()
