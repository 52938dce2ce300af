"""Blobs as files: DATA/objects/ab/<key>, written in place, flushed as they grow, never moved."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from registry_core.digests import Digest
from registry_core.machine.durable import begin_flush, give_to_owner, make_folder, sync_folder
from registry_core.storage.file_journal import FileJournal
from registry_core.storage.file_trash import FileTrash
from registry_core.storage.interface import (
    ObjectWriter,
    Removal,
    StorageError,
    StoredObject,
    TrashedObject,
    UploadLost,
)
from registry_core.storage.journal_lines import blob_line, withdrawn_line
from registry_core.storage.local_files import is_forgotten, translated, whose_memory
from registry_core.storage.object_keys import FAN, FILE_NAME
from registry_core.storage.staging import Staging

READ_BYTES = 1 << 20
CHECKPOINT_BYTES = 32 << 20
BEGIN_FLUSH_BYTES = 4 << 20
FLUSHES_AT_ONCE = 12
MARK_FOLDER = ".installation"  # among the objects, so that it is copied or mounted with them
_flushes = ThreadPoolExecutor(FLUSHES_AT_ONCE, thread_name_prefix="flush")


class FileWriter:
    """Appends to one file. `notes`: in which machine's memory some of its bytes may still be; empty if all are flushed.

    At most one flush runs at a time. A failed flush fails everything that would make later bytes durable: the kernel
    reports bytes that it could not write only once, and drops them.
    """

    def __init__(self, path: Path, offset: int, notes: list[Any]) -> None:
        self._path = path
        self.offset = offset
        self._checkpoint_bytes = offset
        self._begun_bytes = offset
        self._is_flushed = not notes
        self._is_base_flushed = not notes
        self._flush: Future[list[Any]] | None = None
        self._failure: StorageError | None = None
        if notes and is_forgotten(notes[0]):
            raise UploadLost("the machine was restarted before the upload was flushed: upload it again")
        with translated("opening an upload"):
            self._fd = self._opened()
            os.ftruncate(self._fd, offset)

    def _opened(self) -> int:
        flags = os.O_WRONLY | os.O_CLOEXEC
        if self.offset == 0:
            return os.open(self._path, flags | os.O_CREAT, 0o600)
        # If its folder is missing, the whole store is missing, and may come back.
        if self._path.parent.exists() and not self._has_all():
            raise UploadLost("the upload's file has lost its bytes: upload it again")
        return os.open(self._path, flags)

    def _has_all(self) -> bool:
        try:
            return self._path.stat().st_size >= self.offset
        except FileNotFoundError:
            return False

    @property
    def until_checkpoint_bytes(self) -> int:
        return self._checkpoint_bytes + CHECKPOINT_BYTES - self.offset

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        view = memoryview(chunk)
        self._is_flushed = False
        with translated("writing an upload"):
            while view:
                written = os.pwrite(self._fd, view, self.offset)
                self.offset += written
                view = view[written:]
        if self.offset - self._begun_bytes >= BEGIN_FLUSH_BYTES:
            begin_flush(self._fd, self._begun_bytes, self.offset - self._begun_bytes)
            self._begun_bytes = self.offset

    def hand_over(self) -> list[Any]:
        self._await_flush()
        return [] if self._is_flushed else [whose_memory()]  # the rest is in the kernel's memory

    def checkpoint(self) -> list[Any]:
        return self.begin_checkpoint().result()

    def begin_checkpoint(self) -> Future[list[Any]]:
        self._await_flush()
        self._checkpoint_bytes = self.offset
        self._is_flushed = True  # true once it has ended, which `hand_over` waits for; a write resets it
        self._flush = _flushes.submit(self._flush_file)
        return self._flush

    def _flush_file(self) -> list[Any]:
        with self._flushing("flushing an upload"):
            os.fdatasync(self._fd)
        self._is_base_flushed = True
        return []

    @contextmanager
    def _flushing(self, what: str) -> Iterator[None]:
        """Flushes, and records a failure. Includes bytes that an earlier writer left without a flush."""
        try:
            with translated(what):
                yield
        except StorageError as error:
            self._failure = error if self._is_base_flushed else UploadLost(f"{error}: upload it again")
            raise self._failure from error

    def _await_flush(self) -> None:
        """Wait for the last flush. Raises what any flush has raised."""
        if self._flush is not None:
            wait([self._flush])
        if self._failure is not None:
            raise self._failure

    def commit(self) -> str:
        self._await_flush()
        with self._flushing("finishing an upload"):
            os.fsync(self._fd)
            sync_folder(self._path.parent)
        self.close()
        return f"{self._path.parent.name}/{self._path.name}"

    def settle(self) -> None:
        """Nothing to clean up."""

    def close(self) -> None:
        if self._flush is not None:
            wait([self._flush])  # it uses the descriptor, whose number the next opened file would get
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _key(name: str) -> str:
    return f"{name[:2]}/{name}"


class FilesystemStore:
    """A folder of objects, in 256 subfolders that are created (and flushed) once."""

    name = "filesystem"
    journal_delay_s = 0.0

    def __init__(self, root: Path) -> None:
        self._objects = root / "objects"
        self._mark = self._objects / MARK_FOLDER / "mark.json"
        self._trash = FileTrash(self._objects)
        self._journal = FileJournal(root / "journal")
        self.staging = Staging(root / "staging")

    def prepare(self) -> None:
        """Create the folders, if necessary."""
        with translated("preparing the store"):
            self._journal.prepare()
            make_folder(self._objects)
            self.staging.prepare()
            for fan in {f"{fan:02x}" for fan in range(256)}.difference(os.listdir(self._objects)):
                (self._objects / fan).mkdir(exist_ok=True)
            sync_folder(self._objects)
            sync_folder(self._objects.parent)

    def new_key(self) -> str:
        return _key(secrets.token_hex(16))

    def key_for(self, name: str) -> str:
        return f"{_key(name)}-{secrets.token_hex(4)}"

    def staged(self) -> dict[str, bool]:
        return {_key(name): is_here for name, is_here in self.staging.names().items()}

    def writer(self, key: str, *, offset: int, parts: list[Any]) -> ObjectWriter:
        return FileWriter(self.locate(key), offset, parts)

    def locate(self, key: str) -> Path:
        return self._objects / key

    def read(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        left = None if end is None else end - start
        with translated("reading an object"), self.locate(key).open("rb") as file:
            file.seek(start)
            while left is None or left > 0:
                chunk = file.read(READ_BYTES if left is None else min(READ_BYTES, left))
                if not chunk:
                    return
                left = None if left is None else left - len(chunk)
                yield chunk

    def size_bytes(self, key: str) -> int | None:
        try:
            return self.locate(key).stat().st_size
        except FileNotFoundError:
            return None

    def delete(self, key: str) -> None:
        with translated("deleting an object"):
            self.locate(key).unlink(missing_ok=True)

    def delete_batch(self, keys: Sequence[str], *, is_stopping: Callable[[], bool]) -> list[Removal]:
        return [self._removed(key) for key in keys if not is_stopping()]

    def _removed(self, key: str) -> Removal:
        path = self.locate(key)
        try:
            size_bytes = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            if not path.parent.is_dir():  # then the whole store is missing, and may come back
                return Removal(key, 0, f"the folder {path.parent} is missing: is its disk not mounted?")
            size_bytes = 0
        except OSError as error:
            return Removal(key, 0, f"deleting {path}: {os.strerror(error.errno or 0)}")
        is_gone = self.size_bytes(key) is None
        return Removal(
            key, size_bytes, "" if is_gone else f"the file system reports success, but {path} is still there"
        )

    def forget(self, key: str, *, parts: list[Any]) -> None:
        self.delete(key)

    def objects(self) -> Iterator[StoredObject]:
        with translated("listing the objects"):
            if not self._objects.is_dir():
                raise StorageError(f"the folder {self._objects} is missing: is its disk not mounted?")
            for fan in sorted(filter(FAN.fullmatch, os.listdir(self._objects))):
                yield from self._objects_in(fan)

    def _objects_in(self, fan: str) -> Iterator[StoredObject]:
        for name in sorted(filter(FILE_NAME.fullmatch, os.listdir(self._objects / fan))):
            with suppress(FileNotFoundError):  # deleted since the folder was listed
                key = f"{fan}/{name}"
                status = self.locate(key).stat()
                if stat.S_ISREG(status.st_mode):
                    yield StoredObject(key, key.partition("-")[0], status.st_size, status.st_mtime)

    def unfinished(self) -> Iterator[StoredObject]:
        return iter(())  # an unfinished upload is an object like any other

    def abort(self, key: str) -> None:
        """Unfinished objects do not exist here."""

    def note(self, digest: Digest, key: str, size_bytes: int) -> None:
        self._journal.append([blob_line(digest, key, size_bytes)])

    def withdraw(self, keys: Iterable[str], *, known_at_s: float = 0.0) -> None:
        self._journal.append(withdrawn_line(key, known_at_s=known_at_s) for key in keys)

    def journal(self) -> Iterator[bytes]:
        return self._journal.lines()

    def read_mark(self) -> bytes | None:
        with translated("reading the store's mark"):
            try:
                return self._mark.read_bytes()
            except FileNotFoundError:
                return None

    def write_mark(self, content: bytes) -> None:
        folder, written = self._mark.parent, self._mark.with_name(f"{secrets.token_hex(8)}.new")
        with translated("writing the store's mark"):
            make_folder(folder)
            try:
                _write_whole(written, content)
                os.replace(written, self._mark)
            except BaseException:
                written.unlink(missing_ok=True)
                raise
            sync_folder(folder)

    def trash(self, key: str) -> TrashedObject | None:
        return self._trash.add(key)

    def trashed(self) -> Iterator[TrashedObject]:
        return self._trash.list()

    def give_back(self, trashed: TrashedObject) -> bool:
        return self._trash.give_back(trashed)

    def purge(self, trashed: TrashedObject) -> None:
        self._trash.purge(trashed)

    def flush(self) -> None:
        """Nothing is buffered: each line is written immediately."""

    def hints(self) -> list[str]:
        return []


def _write_whole(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        give_to_owner(path)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
