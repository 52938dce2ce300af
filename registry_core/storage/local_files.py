"""What the stores of local files share: error messages, and the memory that holds unflushed bytes."""

from __future__ import annotations

import errno
import os

from registry_core.machine.durable import FULL
from registry_core.machine.state import boot_id, machine_id
from registry_core.storage.interface import ObjectMissing, StorageError, StorageFull

_FULL = FULL | {errno.EFBIG}


class translated:
    """Translates an OSError in the block into an error of the store. A class, because a generator is slower, and a push
    has twenty of these."""

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, FileNotFoundError):
            raise ObjectMissing(f"{self._what}: the object is missing") from error
        if isinstance(error, OSError):
            kind = StorageFull if error.errno in _FULL else StorageError
            raise kind(f"{self._what}: {os.strerror(error.errno or 0)}") from error


def whose_memory() -> str:
    """Identifies the memory in which the kernel keeps unflushed bytes: this machine's, since its last boot."""
    return f"{machine_id()}:{boot_id()}"


def is_forgotten(memory: str) -> bool:
    """Whether that memory is lost. Nothing is known about other machines; they have closed the file."""
    return memory.startswith(f"{machine_id()}:") and memory != whose_memory()
