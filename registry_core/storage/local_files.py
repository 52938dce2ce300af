"""What the stores of local files share: errors in words, and in whose memory lies what is not flushed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from registry_core.machine.durable import FULL
from registry_core.machine.state import boot_id, machine_id
from registry_core.storage.interface import ObjectMissing, StorageError, StorageFull

_FULL = FULL | {errno.EFBIG}


@contextmanager
def translated(what: str) -> Iterator[None]:
    """An OSError as an error of the store."""
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectMissing(f"{what}: the object is not there") from error
    except OSError as error:
        kind = StorageFull if error.errno in _FULL else StorageError
        raise kind(f"{what}: {os.strerror(error.errno or 0)}") from error


def whose_memory() -> str:
    """Names the memory in which the kernel keeps what is not flushed: this machine's, since it was started."""
    return f"{machine_id()}:{boot_id()}"


def is_forgotten(memory: str) -> bool:
    """Whether what was in that memory went with it. Of another machine's nothing is known; it has closed the file."""
    return memory.startswith(f"{machine_id()}:") and memory != whose_memory()
