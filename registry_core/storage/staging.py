r"""Short uploads as files of their own: DATA/staging/<name>, complete and found by name alone, until they are blobs.

File content encodes the state: empty or `\n` = reserved, no bytes yet; `\n\n` = finished or moved to the database; `in
<machine>:<boot>\n<bytes>` = staged bytes. Nothing is flushed: after a power cut the first line shows that the rest may
be anything.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path

from registry_core.machine.durable import make_folder
from registry_core.storage.interface import StorageError, StorageFull, UploadLost
from registry_core.storage.local_files import is_forgotten, translated, whose_memory
from registry_core.storage.staged_bytes import StagedBytes

_LEAVING, _GONE = b"\n", b"\n\n"
_IN = b"in "  # before the name of the memory, as after a power cut the first line may be anything
_CHANGING_S = 10  # normally milliseconds; after this time the changing process is considered dead


class Place(Enum):
    """Where an upload is that is not staged."""

    NOWHERE = auto()
    ELSEWHERE = auto()


class Staging:
    """A folder of short uploads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder_name = str(folder)
        self._counts = folder.with_name("staged-bytes")

    def of_project(self, project_id: int) -> StagedBytes:
        """How many bytes a project has staged, as far as they are counted."""
        return StagedBytes(self._counts / str(project_id))

    def projects(self) -> list[int]:
        """The projects whose bytes are counted."""
        try:
            return [int(name) for name in os.listdir(self._counts) if name.isascii() and name.isdigit()]
        except FileNotFoundError:
            return []

    def prepare(self) -> None:
        """Create the folder, if necessary."""
        make_folder(self._folder)

    def add(self, name: str, content: bytes) -> bool:
        """Stage the first bytes of an upload; False, with nothing done, if it has begun. Raises StorageFull or
        StorageError, with nothing staged."""
        return self._make(name, [_IN, f"{whose_memory()}\n".encode(), content])

    def reserve(self, name: str) -> bool:
        """Record that the upload is about to continue elsewhere; False, with nothing done, if it has begun. Raises as
        `add`."""
        return self._make(name, [_LEAVING])

    def _make(self, name: str, parts: list[bytes]) -> bool:
        path = self._path(name)
        with translated("beginning an upload"):
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                return False
            try:
                if os.writev(fd, parts) < sum(map(len, parts)):
                    raise StorageFull("beginning an upload: no space is left")
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(path)
                raise
            finally:
                os.close(fd)
        return True

    def _path(self, name: str) -> str:
        return f"{self._folder_name}/{name}"  # creating a Path is slower than opening the file

    def read(self, name: str) -> bytes | Place:
        """The staged bytes of the upload. Raises UploadLost if the machine was restarted since, or StorageError."""
        with translated("reading an upload"):
            try:
                with open(self._path(name), "rb", buffering=0) as file:
                    whole = file.read()
            except FileNotFoundError:
                return Place.NOWHERE
        if whole in {b"", _LEAVING}:
            self._forget_abandoned(name)
            return Place.NOWHERE
        memory, _, content = whole.partition(b"\n")
        if not memory:
            return Place.ELSEWHERE
        if not memory.startswith(_IN) or is_forgotten(memory.removeprefix(_IN).decode(errors="replace")):
            raise UploadLost("the machine was restarted before the upload was flushed: upload it again")
        return content

    def _forget_abandoned(self, name: str) -> None:
        path = self._folder / name
        with suppress(FileNotFoundError):
            status = path.stat()
            if status.st_size <= len(_LEAVING) and status.st_mtime < time.time() - _CHANGING_S:
                path.unlink()

    def end(self, name: str) -> None:
        """Record that the upload is elsewhere, or finished. Raises StorageError."""
        with translated("ending an upload"):
            fd = os.open(self._path(name), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(fd, _GONE, 0)
                os.ftruncate(fd, len(_GONE))
            finally:
                os.close(fd)

    def forget(self, name: str) -> None:
        """Remove every trace of the upload, as before it began."""
        with translated("ending an upload"):
            (self._folder / name).unlink(missing_ok=True)

    def names(self) -> dict[str, bool]:
        """The staged uploads, and (with False) those that are about to leave."""
        found: dict[str, bool] = {}
        for entry in self._entries():
            with suppress(FileNotFoundError):
                size_bytes = entry.stat().st_size
                if size_bytes not in {0, len(_GONE)}:
                    found[entry.name] = size_bytes > len(_GONE)
        return found

    def _entries(self) -> list[os.DirEntry[str]]:
        with translated("listing the uploads that have begun"):
            if not self._folder.is_dir():
                raise StorageError(f"the folder {self._folder} is missing: restart Portolan, which creates it")
            return [entry for entry in os.scandir(self._folder) if entry.is_file(follow_symlinks=False)]

    def sweep(self, *, ttl_s: float, memory_s: float) -> int:
        """End uploads that nobody touched for `ttl_s` seconds, and after `memory_s` remove entries without bytes;
        returns how many ended."""
        now_s, ended = time.time(), 0
        for entry in self._entries():
            with suppress(FileNotFoundError):
                status = entry.stat()
                is_here = status.st_size > len(_GONE)
                if not is_here and status.st_mtime <= now_s - memory_s:
                    self.forget(entry.name)
                elif is_here and status.st_mtime <= now_s - ttl_s:
                    self.end(entry.name)
                    ended += 1
        return ended
