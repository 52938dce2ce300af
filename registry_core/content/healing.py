"""Healing by a push: if the store has lost a blob's object, the blob gets the object that was just pushed."""

from __future__ import annotations

from dataclasses import replace

import structlog

from registry_core.content.blobs import BlobRef, find_blob
from registry_core.content.objects import is_lost
from registry_core.content.quarantine import quarantine, relink

_log = structlog.get_logger(__name__)


def healed(*, stored: BlobRef, pushed: BlobRef) -> BlobRef:
    """The blob after `pushed` was stored as `stored`: if that is an earlier blob whose object is lost, it gets the
    pushed object.

    Not within a transaction: other repositories of the blob must be invalidated too.
    """
    if _same_object(stored, pushed) or not is_lost(
        store=stored.store, key=stored.storage_key, size_bytes=stored.size_bytes
    ):
        return stored
    _log.error(
        "a blob's object was lost; it was pushed again, which heals it",
        digest=str(stored.digest),
        store=stored.store,
        key=stored.storage_key,
    )
    quarantine(store=stored.store, key=stored.storage_key, reason="its object is missing or has another size")
    is_healed = relink(
        digests=[pushed.digest], store=pushed.store, key=pushed.storage_key, size_bytes=pushed.size_bytes
    )
    if is_healed:
        return replace(stored, store=pushed.store, storage_key=pushed.storage_key, size_bytes=pushed.size_bytes)
    return find_blob(stored.digest) or stored  # another push healed it meanwhile


def _same_object(one: BlobRef, other: BlobRef) -> bool:
    return (one.store, one.storage_key) == (other.store, other.storage_key)
