"""The object store: one small interface that a folder and an object store can both keep.

A key is opaque and chosen when an upload begins; a store may make the object under a key of its own that begins with
it, which `ObjectWriter.commit` tells and `Blob` maps a digest to. An object's bytes are written once, where they stay:
making them a blob is a row, never a rename. Only the first short piece of an upload may wait elsewhere (`staging`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from registry_core.digests import Digest

if TYPE_CHECKING:
    from registry_core.storage.staging import Staging


class StorageError(Exception):
    """The store could not do it; the message says what a person can do."""


class StorageFull(StorageError):
    """No space is left, a quota of the file system is reached, or it is mounted read-only."""


class ObjectMissing(StorageError):
    """There is no object under that key."""


class StoreNotConfigured(StorageError):
    """Blobs lie in a store that the configuration does not name (any more)."""


class UploadLost(ObjectMissing):
    """The store does not have any more what an upload had so far: it can only begin anew."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the store lists it.

    `upload_key`: the key that its upload was begun with. `modified_at_s`: seconds since the epoch at its last write.
    """

    key: str
    upload_key: str
    size_bytes: int
    modified_at_s: float


@dataclass(frozen=True, slots=True)
class TrashedObject:
    """An object in the store's trash.

    `name`: what it is called there, of which there can be several for one key. `trashed_at_s`: seconds since the epoch.
    """

    name: str
    key: str
    size_bytes: int
    trashed_at_s: float


@dataclass(frozen=True, slots=True)
class SignedUrl:
    """A URL that whoever has it may read one object from, for a while."""

    url: str


class ObjectWriter(Protocol):
    """Appends to one object. Not shared between threads at the same time."""

    offset: int

    @property
    def until_checkpoint_bytes(self) -> int:
        """How many more bytes to write before a checkpoint is due; 0 or less: it is due now."""
        ...

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append `chunk`. Raises StorageFull or StorageError; then the object ends at `offset` again."""
        ...

    def hand_over(self) -> list[Any]:
        """Put what was written where another process can go on from it; the store's own notes for that process.

        It survives the death of this process, though not of its machine: then the notes tell the next writer.
        Raises StorageFull or StorageError, UploadLost when what was handed over before is not there any more.
        """
        ...

    def checkpoint(self) -> list[Any]:
        """As `hand_over`, and what was written survives the death of the machine too."""
        ...

    def begin_checkpoint(self) -> Future[list[Any]]:
        """Begin a checkpoint of what was written so far; more may be written before it has ended with its notes.

        Waits for the one before, so that who is faster than the store is held back. When it fails, the notes are the
        error that `checkpoint` would raise, and what is asked for after it fails as well where the bytes are lost.
        """
        ...

    def commit(self) -> str:
        """Make the object whole and durable, its bytes and its name; the key that it is found under.

        Raises as `hand_over`.
        """
        ...

    def settle(self) -> None:
        """After `commit`, and once the object's row is durable: remove what is not needed any more."""
        ...

    def close(self) -> None:
        """Let go of the object; what was not handed over is lost."""
        ...


class ObjectStore(Protocol):
    """Where blobs lie. `staging`: where short uploads wait; None where each upload is begun in the database.

    `journal_delay_s`: seconds until what a living process noted in the journal can be read there by others.
    """

    name: str
    journal_delay_s: float

    @property
    def staging(self) -> Staging | None: ...

    def new_key(self) -> str:
        """A fresh key."""
        ...

    def key_for(self, name: str) -> str:
        """A fresh key for what comes of the staged upload `name` (32 hex digits)."""
        ...

    def staged(self) -> dict[str, bool]:
        """The upload keys of what is staged, and (with False) of what is about to be more. Objects that have them are
        known."""
        ...

    def writer(self, key: str, *, offset: int, parts: list[Any]) -> ObjectWriter:
        """A writer that goes on at `offset` with the notes `parts`; what lies behind it is cut off.

        Raises UploadLost when what lies before it is not there any more, or StorageError.
        """
        ...

    def locate(self, key: str) -> Path | SignedUrl | None:
        """Where others can read the object from; None when it goes through `read` only."""
        ...

    def read(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The object's bytes from `start` up to, not including, `end`. Raises ObjectMissing."""
        ...

    def size_bytes(self, key: str) -> int | None:
        """The object's size; None when there is no such object."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object and make sure that it is gone; nothing happens when there is none."""
        ...

    def forget(self, key: str, *, parts: list[Any]) -> None:
        """Remove all that the upload begun with `key` left, finished or not; `parts`: its last notes."""
        ...

    def abort(self, key: str) -> None:
        """Remove what is unfinished under exactly this key, as `unfinished` lists it."""
        ...

    def objects(self) -> Iterator[StoredObject]:
        """Every object in the store."""
        ...

    def unfinished(self) -> Iterator[StoredObject]:
        """What takes space and is no object yet."""
        ...

    def note(self, digest: Digest, key: str, size_bytes: int) -> None:
        """Write into the store's journal that the database now has a blob `digest` whose object is `key`; at the latest
        when `flush` is called."""
        ...

    def withdraw(self, keys: Iterable[str], *, known_at_s: float = 0.0) -> None:
        """Write into the journal that the database need not know these keys: an operator has decided so. It holds
        against all lines up to now, or up to `known_at_s` if that is later (seconds since the epoch)."""
        ...

    def journal(self) -> Iterator[bytes]:
        """The lines of the journal, in no particular order; `registry_core.storage.journal_lines` reads them."""
        ...

    def read_mark(self) -> bytes | None:
        """What `write_mark` wrote last; None when the store has no mark. Raises StorageError."""
        ...

    def write_mark(self, content: bytes) -> None:
        """Keep a few bytes that say to which installation the store belongs; whole and durable, or not at all."""
        ...

    def trash(self, key: str) -> TrashedObject | None:
        """Move the object to the store's trash; None when there is no such object.

        Raises StorageError: then it is still where it was, and maybe in the trash as well.
        """
        ...

    def trashed(self) -> Iterator[TrashedObject]:
        """Every object in the trash."""
        ...

    def give_back(self, trashed: TrashedObject) -> bool:
        """Move an object from the trash back to its key, as if it had been written just now; False, and nothing done,
        when it is not in the trash any more, or an object has that key."""
        ...

    def purge(self, trashed: TrashedObject) -> None:
        """Delete an object in the trash for good; nothing happens when it is not there any more."""
        ...

    def flush(self) -> None:
        """Write what of the journal is still in memory."""
        ...

    def hints(self) -> list[str]:
        """What an operator should change about the store; empty when nothing."""
        ...
