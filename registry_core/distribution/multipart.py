"""Several ranges of one object in one body: `multipart/byteranges` (RFC 9110 §14.6, RFC 2046 §5.1)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from registry_core.distribution.ranges import Range
from registry_core.http.messages import Header, Relay
from registry_core.storage.interface import StorageError

Read = Callable[[int, int], Iterator[bytes]]
"""Reads an object's bytes from the first offset up to, not including, the second."""
GAP_BYTES: Final = 64 << 10
"""Gaps between ranges up to this size are read and dropped: a separate request would cost more."""


def multipart(ranges: Sequence[Range], size_bytes: int, content_type: str, read: Read) -> tuple[list[Header], Relay]:
    """The headers and the body of a 206 response with these ranges of an object of `size_bytes`."""
    boundary = secrets.token_hex(16)
    heads = [_head(boundary, content_type, part, size_bytes, is_first=not place) for place, part in enumerate(ranges)]
    end = f"\r\n--{boundary}--\r\n".encode()
    length_bytes = sum(map(len, heads)) + sum(last - first + 1 for first, last in ranges) + len(end)
    headers = [
        ("content-type", f"multipart/byteranges; boundary={boundary}"),
        ("content-length", str(length_bytes)),
    ]
    return headers, Relay(_chunks(ranges, heads, end, read), length_bytes)


def _head(boundary: str, content_type: str, part: Range, size_bytes: int, *, is_first: bool) -> bytes:
    before = "" if is_first else "\r\n"
    content_range = f"bytes {part[0]}-{part[1]}/{size_bytes}"
    return f"{before}--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {content_range}\r\n\r\n".encode()


def _chunks(ranges: Sequence[Range], heads: Sequence[bytes], end: bytes, read: Read) -> Iterator[bytes]:
    place = 0
    for group in _groups(ranges):
        stream = _Stream(read(group[0][0], group[-1][1] + 1), position=group[0][0])
        for first, last in group:
            yield heads[place]
            yield from stream.take(first, last)
            place += 1
    yield end


def _groups(ranges: Sequence[Range]) -> Iterator[list[Range]]:
    """Groups of ranges that are served by one read: each begins shortly after the previous one."""
    group: list[Range] = []
    for part in ranges:
        if group and not 0 <= part[0] - group[-1][1] - 1 <= GAP_BYTES:
            yield group
            group = []
        group.append(part)
    yield group


class _Stream:
    """An object that is read sequentially, and of which parts are taken. Opened at once, so that an unreadable object
    fails early."""

    def __init__(self, chunks: Iterator[bytes], *, position: int) -> None:
        self._chunks = chunks
        self._position = position
        self._ahead = memoryview(next(chunks, b""))

    def take(self, first: int, last: int) -> Iterator[bytes]:
        """The bytes from `first` to `last`; earlier bytes are dropped. Raises StorageError if there are fewer."""
        while self._position <= last:
            if not self._ahead:
                self._ahead = memoryview(next(self._chunks, b""))
            if not self._ahead:
                raise StorageError(f"the object ends after {self._position} bytes")
            skipped = min(max(0, first - self._position), len(self._ahead))
            taken = self._ahead[skipped : last + 1 - self._position]
            if taken:
                yield bytes(taken)
            self._position += skipped + len(taken)
            self._ahead = self._ahead[skipped + len(taken) :]
