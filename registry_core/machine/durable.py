"""Folders whose entries survive a power cut: a new name is durable once its folder was flushed (POSIX). And their
ownership: what root creates in an account's folder is given to that account."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Callable
from pathlib import Path

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})  # the disk is full or read-only
_SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h


def make_folder(path: Path, *, mode: int = 0o777) -> None:
    """Create `path` with `mode`, and its missing parents, each flushed into its own parent. Raises OSError."""
    missing = [folder for folder in path.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        give_to_owner(folder)
        sync_folder(folder.parent)
    if not path.exists():
        path.mkdir(mode=mode, exist_ok=True)
        give_to_owner(path)
        sync_folder(path.parent)


def give_to_owner(path: Path) -> None:
    """If root has created `path` in the folder of an ordinary account, give it to that account, which will use it.

    Raises OSError.
    """
    if os.geteuid() == 0 and (owner := path.parent.stat()).st_uid != 0:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def sync_folder(path: Path) -> None:
    """Flush the entries of the folder. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def begin_flush(descriptor: int, start: int, length_bytes: int) -> None:
    """Have the kernel start writing a part of a file to the disk, without waiting: a later flush then takes less time.

    A hint, sync_file_range(2): it makes nothing durable, and without that system call it does nothing.
    """
    call = _sync_file_range()
    if call is not None:
        call(descriptor, ctypes.c_int64(start), ctypes.c_int64(length_bytes), _SYNC_FILE_RANGE_WRITE)


@functools.cache
def _sync_file_range() -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), "sync_file_range", None)
