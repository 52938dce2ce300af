"""The sizes of an object's parts, and the buffer that collects one.

An object in S3 has at most 10,000 parts, each (but the last) of at least 5 MiB, and at most 5 TiB. The size of an
upload is not known beforehand, so parts begin small, to save memory for the many small objects, and grow with the
object.
"""

from __future__ import annotations

import os
import tempfile
from typing import IO

MIB = 1 << 20
PARTS_MAX = 10_000
PART_MIN_BYTES = 5 * MIB
# The first thousand parts have the configured size, and only among them short ones are allowed: what short parts lose
# cannot keep an object from reaching 5 TiB.
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
        """The intended size of the part in bytes."""
        if self._is_equal or number <= FIRST_PARTS:
            return self._first_bytes
        return max(self._first_bytes, MIDDLE_PART_BYTES if number <= MIDDLE_PARTS else LAST_PART_BYTES)

    def least_bytes(self, number: int) -> int:
        """The smallest size of the part in bytes if it is not the last one."""
        is_free = not self._is_equal and number <= FIRST_PARTS
        return PART_MIN_BYTES if is_free else self.size_bytes(number)


class PartBuffer:
    """Bytes that are not in the store yet: in memory, and beyond `memory_bytes` in an unnamed file."""

    def __init__(self, *, memory_bytes: int = MEMORY_BYTES) -> None:
        self._memory_bytes = memory_bytes
        self._bytes = bytearray()
        self._file: IO[bytes] | None = None
        self._size_bytes = 0

    def __len__(self) -> int:
        return self._size_bytes

    def append(self, chunk: bytes | bytearray | memoryview) -> None:
        """Raises OSError if the file cannot take the bytes; then nothing was appended."""
        if self._file is None and self._size_bytes + len(chunk) <= self._memory_bytes:
            self._bytes += chunk
        else:
            self._append_to_file(chunk)
        self._size_bytes += len(chunk)

    def body(self) -> bytearray | IO[bytes]:
        """All bytes, as the body of a request."""
        if self._file is None:
            return self._bytes
        self._file.flush()
        self._file.seek(0)
        return self._file

    def clear(self) -> None:
        """Discard the bytes and release their memory."""
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
