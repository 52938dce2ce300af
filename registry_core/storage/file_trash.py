"""The trash of a folder of objects: a folder inside it, and therefore on the same file system.

Moving an object there and back is a rename, which is atomic even in a crash.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from registry_core.machine.durable import make_folder, sync_folder
from registry_core.storage.interface import StorageError, TrashedObject
from registry_core.storage.local_files import translated
from registry_core.storage.trash_names import parse_trash_name, trash_name

FOLDER = ".trash"
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class FileTrash:
    """The folder `.trash` in a folder of objects."""

    def __init__(self, objects: Path) -> None:
        self._objects = objects
        self._folder = objects / FOLDER

    def add(self, key: str) -> TrashedObject | None:
        """Move the object to the trash; None if it does not exist. Raises StorageError."""
        path, name = self._objects / key, trash_name(key)
        with translated("moving an object to the trash"):
            make_folder(self._folder)
            try:
                trashed = parse_trash_name(name, path.stat().st_size)
                if trashed is None:
                    raise StorageError(f"moving an object to the trash: {key!r} is not a key of this store")
                os.rename(path, self._folder / name)
            except FileNotFoundError:
                return None
            sync_folder(self._folder)
            sync_folder(path.parent)
        return trashed

    def list(self) -> Iterator[TrashedObject]:
        """The content of the trash, in the order of keys. Raises StorageError."""
        with translated("listing the trash"):
            names = sorted(os.listdir(self._folder)) if self._folder.exists() else []
        for name in names:
            with suppress(FileNotFoundError):  # restored or deleted since
                status = (self._folder / name).stat()
                trashed = parse_trash_name(name, status.st_size)
                if trashed is not None and stat.S_ISREG(status.st_mode):
                    yield trashed

    def give_back(self, trashed: TrashedObject) -> bool:
        """Restore it, with the current time as its last write; False if it is gone or its key is taken. Raises
        StorageError."""
        source, target = self._folder / trashed.name, self._objects / trashed.key
        with translated("restoring an object from the trash"):
            try:
                os.utime(source)  # with its old time it would be swept again at once
                _move_to_free_name(source, target)
            except (FileNotFoundError, FileExistsError):
                return False
            sync_folder(target.parent)
            sync_folder(self._folder)
        return True

    def purge(self, trashed: TrashedObject) -> None:
        """Delete it. Raises StorageError."""
        with translated("deleting an object in the trash"):
            (self._folder / trashed.name).unlink(missing_ok=True)


def _move_to_free_name(source: Path, target: Path) -> None:
    """A rename that replaces nothing. If the process is killed in between, the file has both names, and loses the first
    one later."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if target.exists():
            raise FileExistsError(target) from None
        os.rename(source, target)
    else:
        os.unlink(source)
