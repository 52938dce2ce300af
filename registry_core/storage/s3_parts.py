"""How large the parts of an object are, and the buffer in which one is gathered.

S3 takes at most 10,000 parts, each (but the last) of at least 5 MiB, and objects of up to 5 TiB. Nobody says beforehand
how large an upload will be, so parts begin small, for the many small objects' memory, and grow with the object.
"""

from __future__ import annotations

import os
import tempfile
from typing import IO

MIB = 1 << 20
PARTS_MAX = 10_000
PART_MIN_BYTES = 5 * MIB
# The first thousand parts are of the configured size, and only among them a short one is allowed: what short parts
# lose cannot keep an object from reaching 5 TiB.
FIRST_PARTS = 1_000
MIDDLE_PARTS = 5_000
MIDDLE_PART_BYTES = 64 * MIB
LAST_PART_BYTES = 1024 * MIB
MEMORY_BYTES = 64 * MIB


class PartPlan:
    """The size of each part of an object, by its number (from 1 on)."""

    def __init__(self, first_bytes: int, *, is_equal: bool) -> None:
        self._first_bytes = first_bytes
        self._is_equal = is_equal

    def size_bytes(self, number: int) -> int:
        """How many bytes the part is meant to have."""
        if self._is_equal or number <= FIRST_PARTS:
            return self._first_bytes
        return max(self._first_bytes, MIDDLE_PART_BYTES if number <= MIDDLE_PARTS else LAST_PART_BYTES)

    def least_bytes(self, number: int) -> int:
        """How many bytes the part must have when it is not the last one."""
        is_free = not self._is_equal and number <= FIRST_PARTS
        return PART_MIN_BYTES if is_free else self.size_bytes(number)


class PartBuffer:
    """Bytes that are not in the store yet: in memory, and beyond `memory_bytes` in a file without a name."""

    def __init__(self, *, memory_bytes: int = MEMORY_BYTES) -> None:
        self._memory_bytes = memory_bytes
        self._bytes = bytearray()
        self._file: IO[bytes] | None = None
        self._size_bytes = 0

    def __len__(self) -> int:
        return self._size_bytes

    def append(self, chunk: bytes | bytearray | memoryview) -> None:
        """Raises OSError when the file cannot take it; then nothing was appended."""
        if self._file is None and self._size_bytes + len(chunk) <= self._memory_bytes:
            self._bytes += chunk
        else:
            self._append_to_file(chunk)
        self._size_bytes += len(chunk)

    def body(self) -> bytearray | IO[bytes]:
        """The bytes from the beginning on, as the body of a request."""
        if self._file is None:
            return self._bytes
        self._file.flush()
        self._file.seek(0)
        return self._file

    def clear(self) -> None:
        """Forget the bytes, and give their memory back."""
        if self._file is not None:
            self._file.close()
        self._file, self._bytes, self._size_bytes = None, bytearray(), 0

    def _append_to_file(self, chunk: bytes | bytearray | memoryview) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 lives as long as the buffer
            _write(self._file, 0, self._bytes)
            self._bytes = bytearray()
        _write(self._file, self._size_bytes, chunk)


def _write(file: IO[bytes], offset: int, chunk: bytes | bytearray | memoryview) -> None:
    view = memoryview(chunk)
    while view:
        written = os.pwrite(file.fileno(), view, offset)
        offset, view = offset + written, view[written:]
