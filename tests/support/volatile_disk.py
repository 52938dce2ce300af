"""A file system that forgets what was not flushed when its power is cut: a disk with a volatile cache, over FUSE.

POSIX promises no more than this file system does: a file's bytes and size survive once the file was fsynced, a name in
a folder (made, removed or renamed) once the folder was. It lives in the memory of a process of its own, which the power
cut leaves alone; `python -m tests.support.volatile_disk FOLDER` mounts it until it is unmounted.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from registry_core.machine.processes import spawn
from tests.support.waiting import wait_until

PAGE_BYTES = 4096
CUT, LOST = "user.cut", "user.lost"


@dataclass(eq=False)
class File:
    """`now` is what a reader sees, `durable` what a power cut leaves."""

    mode: int
    now: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    mtime_ns: int = field(default_factory=time.time_ns)

    def flush(self) -> None:
        if self.now != self.durable:
            self.durable = bytes(self.now)

    def cut(self, chance: random.Random, kept: float) -> int:
        """Forget what was not flushed, but for the pages that had luck; how many bytes may be lost."""
        if self.now == self.durable:
            return 0
        lost, survivor = len(self.now), bytearray(self.durable)
        if chance.random() < kept:
            survivor = _torn(survivor, bytes(self.now), chance, kept)
        self.now, self.durable = survivor, bytes(survivor)
        return lost


@dataclass(eq=False)
class Folder:
    """Its names, with the same two states."""

    mode: int
    now: dict[str, File | Folder] = field(default_factory=dict)
    durable: dict[str, File | Folder] = field(default_factory=dict)
    mtime_ns: int = field(default_factory=time.time_ns)

    def flush(self) -> None:
        self.durable = dict(self.now)

    def cut(self, chance: random.Random, kept: float) -> int:
        """Forget the names that were not flushed, but for those that had luck; how many of them there were."""
        changed = [name for name in self.now | self.durable if self.now.get(name) is not self.durable.get(name)]
        survivors = dict(self.durable)
        for name in changed:
            if chance.random() < kept:
                survivors.pop(name, None)
                survivors |= {name: self.now[name]} if name in self.now else {}
        self.now, self.durable = survivors, dict(survivors)
        return len(changed)


def _torn(old: bytearray, new: bytes, chance: random.Random, kept: float) -> bytearray:
    """The new size, and of the new pages some; where there was nothing before, the others are zeros."""
    torn = old[: len(new)] + bytes(max(0, len(new) - len(old)))
    for at in range(0, len(new), PAGE_BYTES):
        if chance.random() < kept:
            torn[at : at + PAGE_BYTES] = new[at : at + PAGE_BYTES]
    return torn


class VolatileDisk:
    """The file system's operations, by path as FUSE's high-level interface has them; handles are the open files."""

    use_ns = True

    def __init__(self, *, ignores_fsync: bool = False) -> None:
        self._root = Folder(stat.S_IFDIR | 0o755)
        self._ignores_fsync = ignores_fsync
        self._open: dict[int, File] = {}
        self._next_handle = 1
        self._lost = (0, 0)

    # --- power

    def setxattr(self, path: str, name: str, value: bytes, options: int, position: int = 0) -> int:
        """`user.cut` on any path cuts the power; the value is "seed part": how much of the volatile had luck."""
        if name != CUT:
            _refuse(errno.ENOTSUP)
        seed, kept = value.decode().split()
        chance, lost_bytes, lost_names = random.Random(seed), 0, 0
        for node in list(_all_of(self._root)):
            lost = node.cut(chance, float(kept))
            lost_bytes += lost if isinstance(node, File) else 0
            lost_names += lost if isinstance(node, Folder) else 0
        self._lost = (lost_bytes, lost_names)
        return 0

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        """`user.lost`: the bytes and the names that the last cut met unflushed."""
        if name != LOST:
            _refuse(errno.ENODATA)
        return f"{self._lost[0]} {self._lost[1]}".encode()

    def fsync(self, path: str | None, datasync: int, fh: int) -> int:
        if not self._ignores_fsync:
            self._open[fh].flush()
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        if not self._ignores_fsync:
            self._folder(path).flush()
        return 0

    # --- names

    def mkdir(self, path: str, mode: int) -> int:
        parent, name = self._parent(path)
        if name in parent.now:
            _refuse(errno.EEXIST)
        parent.now[name] = Folder(stat.S_IFDIR | mode)
        return 0

    def unlink(self, path: str) -> int:
        parent, name = self._parent(path)
        if parent.now.pop(name, None) is None:
            _refuse(errno.ENOENT)
        return 0

    def rmdir(self, path: str) -> int:
        if self._folder(path).now:
            _refuse(errno.ENOTEMPTY)
        return self.unlink(path)

    def rename(self, old: str, new: str) -> int:
        node = self._node(old)
        (source, source_name), (target, target_name) = self._parent(old), self._parent(new)
        del source.now[source_name]
        target.now[target_name] = node
        return 0

    def link(self, target: str, source: str) -> int:
        parent, name = self._parent(target)
        if name in parent.now:
            _refuse(errno.EEXIST)
        parent.now[name] = self._node(source)
        return 0

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *self._folder(path).now]

    # --- files

    def create(self, path: str, mode: int, fi: object = None) -> int:
        parent, name = self._parent(path)
        parent.now[name] = File(stat.S_IFREG | mode)
        return self.open(path, 0)

    def open(self, path: str, flags: int) -> int:
        handle, self._next_handle = self._next_handle, self._next_handle + 1
        self._open[handle] = self._file(path)
        return handle

    def release(self, path: str | None, fh: int) -> int:
        self._open.pop(fh, None)
        return 0

    def read(self, path: str | None, size: int, offset: int, fh: int) -> bytes:
        return bytes(self._open[fh].now[offset : offset + size])

    def write(self, path: str | None, data: bytes, offset: int, fh: int) -> int:
        file = self._open[fh]
        file.now.extend(bytes(max(0, offset - len(file.now))))
        file.now[offset : offset + len(data)] = data
        file.mtime_ns = time.time_ns()
        return len(data)

    def truncate(self, path: str | None, length: int, fh: int | None = None) -> int:
        file = self._open[fh] if fh is not None else self._file(path or "")
        del file.now[length:]
        file.now.extend(bytes(length - len(file.now)))
        return 0

    # --- attributes

    def getattr(self, path: str | None, fh: int | None = None) -> dict[str, Any]:
        node = self._open[fh] if fh in self._open else self._node(path or "/")
        size = len(node.now) if isinstance(node, File) else 0
        times = dict.fromkeys(("st_mtime", "st_ctime", "st_atime"), node.mtime_ns)
        return {"st_mode": node.mode, "st_nlink": 1, "st_size": size, "st_uid": 0, "st_gid": 0, **times}

    def chmod(self, path: str, mode: int) -> int:
        self._node(path).mode = mode
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        self._node(path).mtime_ns = times[1] if times else time.time_ns()
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        free = 1 << 22
        return {"f_bsize": PAGE_BYTES, "f_frsize": PAGE_BYTES, "f_blocks": free, "f_bfree": free, "f_bavail": free}

    # --- paths

    def _node(self, path: str) -> File | Folder:
        node: File | Folder = self._root
        for name in PurePosixPath(path).parts[1:]:
            if not isinstance(node, Folder):
                _refuse(errno.ENOTDIR)
            if name not in node.now:
                _refuse(errno.ENOENT)
            node = node.now[name]
        return node

    def _folder(self, path: str) -> Folder:
        node = self._node(path)
        return node if isinstance(node, Folder) else _refuse(errno.ENOTDIR)

    def _file(self, path: str) -> File:
        node = self._node(path)
        return node if isinstance(node, File) else _refuse(errno.EISDIR)

    def _parent(self, path: str) -> tuple[Folder, str]:
        at = PurePosixPath(path)
        return self._folder(str(at.parent)), at.name


def _all_of(node: File | Folder) -> Iterator[File | Folder]:
    yield node
    if isinstance(node, Folder):
        for child in {id(child): child for child in (*node.now.values(), *node.durable.values())}.values():
            yield from _all_of(child)


def _refuse(code: int) -> NoReturn:
    raise OSError(code, os.strerror(code))


class MountedDisk:
    """The file system on a folder; use it in a `with` statement."""

    def __init__(self, folder: Path, *, log: Path, ignores_fsync: bool = False) -> None:
        self.folder = folder
        self._log = log
        self._options = ["--ignore-fsync"] if ignores_fsync else []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> MountedDisk:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", __name__, str(self.folder), *self._options]
        with self._log.open("ab") as log:
            self._process = spawn(command, death_signal=signal.SIGKILL, log=log, env=dict(os.environ))
        wait_until(lambda: os.path.ismount(self.folder), what="the file system is mounted")
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
        if self._process is not None:
            self._process.wait(30)

    def cut(self, *, seed: str, kept: float) -> tuple[int, int]:
        """Cut the power: what was not flushed is gone, but for the part `kept` of it, which had luck.

        The bytes of unflushed files and the unflushed names that it met.
        """
        os.setxattr(self.folder, CUT, f"{seed} {kept}".encode())
        lost_bytes, lost_names = os.getxattr(self.folder, LOST).split()
        return int(lost_bytes), int(lost_names)


def _main() -> None:
    from mfusepy import FUSE  # the other processes need no libfuse

    parser = argparse.ArgumentParser(prog=f"python -m {__name__}", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument(
        "--ignore-fsync", action="store_true", help="say yes to a flush and do nothing: a disk that lies"
    )
    arguments = parser.parse_args()
    disk = VolatileDisk(ignores_fsync=arguments.ignore_fsync)
    # The kernel remembers nothing of it: after a cut there is nobody who still knows what was there before.
    FUSE(
        disk, arguments.folder, foreground=True, nothreads=True, allow_other=True, entry_timeout=0, attr_timeout=0,
        negative_timeout=0, direct_io=True, hard_remove=True, fsname="volatile",
    )  # fmt: skip


if __name__ == "__main__":
    _main()
