"""The object store: one small interface that a folder and an object store can both keep.

A key is opaque and chosen when an upload begins; `Blob` maps a digest to it. Bytes are written once, where they stay:
making them a blob is a row, never a copy and never a rename.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from registry_core.digests import Digest


class StorageError(Exception):
    """The store could not do it; the message says what a person can do."""


class StorageFull(StorageError):
    """No space is left, a quota of the file system is reached, or it is mounted read-only."""


class ObjectMissing(StorageError):
    """There is no object under that key."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the store lists it; `modified_at_s`: seconds since the epoch at its last write."""

    key: str
    size_bytes: int
    modified_at_s: float


class ObjectWriter(Protocol):
    """Appends to one object. Not shared between threads at the same time."""

    offset: int

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append `chunk`. Raises StorageFull or StorageError; then the object ends at `offset` again."""
        ...

    def checkpoint(self) -> list[Any]:
        """Make durable what was written; the parts (the store's own notes) with which another process goes on."""
        ...

    def commit(self) -> None:
        """Make the object whole and durable under its key: its bytes and its name."""
        ...

    def close(self) -> None:
        """Let go of the object without making it whole."""
        ...


class ObjectStore(Protocol):
    """Where blobs lie."""

    name: str

    def new_key(self) -> str:
        """A fresh key."""
        ...

    def writer(self, key: str, *, offset: int, parts: list[Any]) -> ObjectWriter:
        """A writer that goes on at `offset`; what lies behind it is cut off. Raises ObjectMissing."""
        ...

    def path(self, key: str) -> Path:
        """The file to serve the object from."""
        ...

    def read(self, key: str, *, end: int | None = None) -> Iterator[bytes]:
        """The object's bytes, up to `end`. Raises ObjectMissing."""
        ...

    def size_bytes(self, key: str) -> int | None:
        """The object's size; None when there is no such object."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object, finished or not; nothing happens when there is none."""
        ...

    def objects(self) -> Iterator[StoredObject]:
        """Every object in the store."""
        ...

    def note(self, digest: Digest, key: str, size_bytes: int) -> None:
        """Write into the store's journal which digest lies under which key."""
        ...
