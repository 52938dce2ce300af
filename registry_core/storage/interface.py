"""The interface of the object store, implemented by a folder and by S3.

A key is opaque and chosen when an upload begins; a store may use a key of its own that begins with it, which
`ObjectWriter.commit` returns and a `Blob` row maps a digest to. An object's bytes are written once, to their final
place: a row makes them a blob, never a rename. Only the first short piece of an upload may be stored elsewhere
(`staging`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from registry_core.digests import Digest

if TYPE_CHECKING:
    from registry_core.storage.staging import Staging


BATCH_MAX: Final = 1000
"""The most objects of one batch: as many as S3 deletes with one request."""


class StorageError(Exception):
    """The store failed; the message says what a person can do."""


class StorageFull(StorageError):
    """No space is left, a quota of the file system is reached, or it is read-only."""


class ObjectMissing(StorageError):
    """There is no object under that key."""


class StoreNotConfigured(StorageError):
    """The blob is in a store that is not configured (any more)."""


class UploadLost(ObjectMissing):
    """The store has lost the earlier bytes of an upload, which must begin again."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as listed by the store.

    `upload_key`: the key with which its upload was begun. `modified_at_s`: seconds since the epoch at its last write.
    """

    key: str
    upload_key: str
    size_bytes: int
    modified_at_s: float


@dataclass(frozen=True, slots=True)
class TrashedObject:
    """An object in the store's trash.

    `name`: its name there; one key can have several. `trashed_at_s`: seconds since the epoch.
    """

    name: str
    key: str
    size_bytes: int
    trashed_at_s: float


@dataclass(frozen=True, slots=True)
class Removal:
    """What became of one object of a batch that was to be deleted.

    `freed_bytes`: the size that the store had for it before; 0 if there was none. `failure`: why it is still there;
    empty if the store has confirmed that it is gone.
    """

    key: str
    freed_bytes: int
    failure: str = ""


@dataclass(frozen=True, slots=True)
class SignedUrl:
    """A URL with which anybody can read one object, for a limited time."""

    url: str


class ObjectWriter(Protocol):
    """Appends to one object. Not shared between threads at the same time."""

    offset: int

    @property
    def until_checkpoint_bytes(self) -> int:
        """How many more bytes to write before a checkpoint is due; 0 or less: it is due now."""
        ...

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append `chunk`. Raises StorageFull or StorageError, after which the object ends at `offset` again."""
        ...

    def hand_over(self) -> list[Any]:
        """Put the written bytes where another process can continue from; returns the store's notes for that process.

        They survive the death of this process, but not of its machine: the notes tell the next writer. Raises
        StorageFull or StorageError, UploadLost if earlier bytes are lost.
        """
        ...

    def checkpoint(self) -> list[Any]:
        """As `hand_over`, and the bytes survive the death of the machine too."""
        ...

    def begin_checkpoint(self) -> Future[list[Any]]:
        """Begin a checkpoint of the bytes written so far; more may be written before it ends with its notes.

        Waits for the previous one, which slows down writers that are faster than the store. If it fails, the notes are
        the error that `checkpoint` would raise, and later calls fail as well if the bytes are lost.
        """
        ...

    def commit(self) -> str:
        """Make the object complete and durable, its bytes and its name; returns its key.

        Raises as `hand_over`.
        """
        ...

    def settle(self) -> None:
        """After `commit`, once the object's row is durable: remove what is not needed any more."""
        ...

    def close(self) -> None:
        """Release the object; bytes that were not handed over are lost."""
        ...


class ObjectStore(Protocol):
    """A store of blobs. `staging`: for short uploads; None if every upload is begun in the database.

    `journal_delay_s`: seconds until others can read journal lines of a running process.
    """

    name: str
    journal_delay_s: float

    @property
    def staging(self) -> Staging | None: ...

    def new_key(self) -> str:
        """A new key."""
        ...

    def key_for(self, name: str) -> str:
        """A new key for the object made from the staged upload `name` (32 hex digits)."""
        ...

    def staged(self) -> dict[str, bool]:
        """The upload keys of what is staged, and (with False) of staged uploads that are becoming more. Objects with
        these keys are in use."""
        ...

    def writer(self, key: str, *, offset: int, parts: list[Any]) -> ObjectWriter:
        """A writer that continues at `offset` with the notes `parts`; bytes after `offset` are cut off.

        Raises UploadLost if bytes before `offset` are lost, or StorageError.
        """
        ...

    def locate(self, key: str) -> Path | SignedUrl | None:
        """Where the object can be read from directly; None if only through `read`."""
        ...

    def read(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The object's bytes from `start` up to, not including, `end`. Raises ObjectMissing."""
        ...

    def size_bytes(self, key: str) -> int | None:
        """The object's size; None if it does not exist."""
        ...

    def delete(self, key: str) -> None:
        """Delete the object and make sure that it is gone; does nothing if it does not exist."""
        ...

    def delete_batch(self, keys: Sequence[str], *, is_stopping: Callable[[], bool]) -> list[Removal]:
        """Delete up to BATCH_MAX objects, and ask the store for each whether it is gone. Those that it was not asked
        about, because `is_stopping` became true, are left out.

        Raises StorageError if the store does not answer; some of the objects may be gone then.
        """
        ...

    def forget(self, key: str, *, parts: list[Any]) -> None:
        """Remove everything that the upload begun with `key` left, finished or not; `parts`: its last notes."""
        ...

    def abort(self, key: str) -> None:
        """Remove what is unfinished under exactly this key, as listed by `unfinished`."""
        ...

    def objects(self) -> Iterator[StoredObject]:
        """Every object in the store."""
        ...

    def unfinished(self) -> Iterator[StoredObject]:
        """What takes space and is not an object yet."""
        ...

    def note(self, digest: Digest, key: str, size_bytes: int) -> None:
        """Write into the store's journal that the database now has a blob `digest` with the object `key`; at the latest
        when `flush` is called."""
        ...

    def withdraw(self, keys: Iterable[str], *, known_at_s: float = 0.0) -> None:
        """Write into the journal that an operator has decided that the database need not have these keys. Overrides all
        lines up to now, or up to `known_at_s` if that is later (seconds since the epoch)."""
        ...

    def journal(self) -> Iterator[bytes]:
        """The lines of the journal, in no particular order; `registry_core.storage.journal_lines` parses them."""
        ...

    def read_mark(self) -> bytes | None:
        """What `write_mark` last wrote; None if the store has no mark. Raises StorageError."""
        ...

    def write_mark(self, content: bytes) -> None:
        """Store a few bytes that say to which installation the store belongs; complete and durable, or not at all."""
        ...

    def trash(self, key: str) -> TrashedObject | None:
        """Move the object to the store's trash; None if it does not exist.

        Raises StorageError: the object is then still in its place, and possibly in the trash as well.
        """
        ...

    def trashed(self) -> Iterator[TrashedObject]:
        """Every object in the trash."""
        ...

    def give_back(self, trashed: TrashedObject) -> bool:
        """Restore an object from the trash, with the current time as its last write; False, with nothing done, if it is
        not in the trash any more, or an object has its key."""
        ...

    def purge(self, trashed: TrashedObject) -> None:
        """Delete an object in the trash for good; does nothing if it is not there any more."""
        ...

    def flush(self) -> None:
        """Write the part of the journal that is still in memory."""
        ...

    def hints(self) -> list[str]:
        """Recommended changes to the store's configuration."""
        ...
