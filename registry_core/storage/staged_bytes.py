"""How many bytes a project has staged: DATA/staged-bytes/<project>/<upload>.<bytes>, an empty file per upload.

Beside them, `lease` has the number of bytes that the project was charged in advance. Only names are read, so that many
uploads cost little; all machines that share the folder see the same. An upload that is becoming a blob, and is charged
as one, has a `~` after its name and does not count.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from registry_core.machine.durable import make_folder
from registry_core.storage.local_files import translated

_LEASE = "lease"
_LEAVING = "~"
_CHANGING_S = 60  # normally milliseconds; after this time the changing process is considered dead


@dataclass(frozen=True, slots=True)
class Staged:
    """The staged uploads and bytes of a project."""

    uploads: int
    size_bytes: int


class Lease:
    """The locked lease of a project: no other process stages, or changes it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        digits = os.pread(descriptor, 20, 0)
        self.leased_bytes = int(digits) if digits.isdigit() else 0

    def set(self, leased_bytes: int) -> None:
        """Record what the project is charged for now."""
        digits = b"%d" % leased_bytes
        os.pwrite(self._descriptor, digits, 0)
        os.ftruncate(self._descriptor, len(digits))
        self.leased_bytes = leased_bytes


class StagedBytes:
    """The bytes that one project has staged. All functions raise StorageFull or StorageError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def locked(self) -> Iterator[Lease]:
        """Lock the project's lease, waiting if necessary. Never wait for this within a transaction."""
        with translated("counting uploads"):
            make_folder(self._folder)
            descriptor = os.open(self._folder / _LEASE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with translated("counting uploads"):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                lease = Lease(descriptor)
            yield lease
        finally:
            os.close(descriptor)

    def count(self) -> Staged:
        """Count what is staged now."""
        sizes = [int(name.rpartition(".")[2]) for name in self._names() if not name.endswith(_LEAVING)]
        return Staged(len(sizes), sum(sizes))

    def is_leased(self) -> bool:
        """Whether the project has ever staged anything."""
        return (self._folder / _LEASE).exists()

    def add(self, upload: str, size_bytes: int) -> bool:
        """Count an upload; False if it is already counted."""
        with translated("counting uploads"):
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                os.close(os.open(self._path(upload, size_bytes), flags, 0o600))
            except FileExistsError:
                return False
        return True

    def begin_leaving(self, upload: str, size_bytes: int) -> None:
        """Stop counting an upload: its bytes are about to be charged in another way."""
        path = self._path(upload, size_bytes)
        with translated("counting uploads"), suppress(FileNotFoundError):
            path.rename(f"{path}{_LEAVING}")

    def come_back(self, upload: str, size_bytes: int) -> None:
        """Undo `begin_leaving`."""
        path = self._path(upload, size_bytes)
        with translated("counting uploads"), suppress(FileNotFoundError):
            Path(f"{path}{_LEAVING}").rename(path)

    def remove(self, upload: str, size_bytes: int) -> None:
        """Forget a finished upload."""
        path = self._path(upload, size_bytes)
        with translated("counting uploads"):
            for known in (path, Path(f"{path}{_LEAVING}")):
                known.unlink(missing_ok=True)

    def mend(self, is_staged: dict[str, bool]) -> None:
        """Forget finished uploads, and count those again whose process died between `begin_leaving` and its end.

        `is_staged`: tests whether an upload is staged. What is being changed now is left alone.
        """
        for name in self._names():
            path = self._folder / name
            with translated("counting uploads"), suppress(FileNotFoundError):
                if path.stat().st_ctime > time.time() - _CHANGING_S:
                    continue
                if not is_staged.get(name.partition(".")[0]):
                    path.unlink()
                elif name.endswith(_LEAVING):
                    path.rename(str(path).removesuffix(_LEAVING))

    def _path(self, upload: str, size_bytes: int) -> Path:
        return self._folder / f"{upload}.{size_bytes}"

    def _names(self) -> list[str]:
        try:
            return [name for name in os.listdir(self._folder) if _is_count(name)]
        except FileNotFoundError:
            return []


def _is_count(name: str) -> bool:
    """Excludes the lease, and foreign files: NFS leaves `.nfs…`, desktops their notes."""
    size = name.removesuffix(_LEAVING).rpartition(".")[2]
    return name != _LEASE and not name.startswith(".") and size.isascii() and size.isdigit()
