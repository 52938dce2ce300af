"""Reading a few files out of a hostile archive: bounded in bytes, files, ratio and time; nothing is ever written.

Only plain files count: no links, no devices, no sparse files, no path that leaves the archive.
"""

from __future__ import annotations

import io
import tarfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from registry_core.errors import PreconditionFailed

ARCHIVE_MAX_BYTES: Final = 64 << 20
UNPACKED_MAX_BYTES: Final = 128 << 20
FILE_MAX_BYTES: Final = 1 << 20
FILES_MAX: Final = 10_000
RATIO_MAX: Final = 200
RATIO_FREE_BYTES: Final = 4 << 20
SECONDS_MAX: Final = 5.0
_STEP_BYTES: Final = 64 << 10


class BadArchive(PreconditionFailed):
    """The archive is damaged, or larger than what is unpacked here."""


def read_files(chunks: Iterable[bytes], *, is_wanted: Callable[[str], bool], at_most: int) -> dict[str, bytes]:
    """The wanted files of a tar archive, compressed by gzip or not, as it comes in chunks; `at_most` so many.

    `is_wanted` is asked with each file's path. Raises BadArchive.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=_Unpacked(chunks), mode="r|", errorlevel=0) as archive:
            for number, entry in enumerate(archive):
                if number >= FILES_MAX:
                    raise BadArchive(f"the archive has more than {FILES_MAX} files")
                path = _path(entry)
                if path and is_wanted(path) and path not in found:
                    found[path] = _content(archive, entry)
                if len(found) == at_most:
                    break
    except (tarfile.TarError, zlib.error, EOFError, ValueError, RecursionError) as error:
        raise BadArchive(f"the archive cannot be read: {error}") from None
    return found


def _path(entry: tarfile.TarInfo) -> str:
    """The path of a plain file that stays within the archive; empty for everything else."""
    if not entry.isreg() or entry.issparse() or entry.name.startswith("/"):
        return ""
    parts = [part for part in entry.name.split("/") if part not in {"", "."}]
    return "" if ".." in parts else "/".join(parts)


def _content(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    if entry.size > FILE_MAX_BYTES:
        raise BadArchive(f"{entry.name[:100]} is larger than {FILE_MAX_BYTES} bytes, which is too much to be shown")
    opened = archive.extractfile(entry)
    return b"" if opened is None else opened.read(FILE_MAX_BYTES)


class _Unpacked(io.RawIOBase):
    """The bytes of the archive, decompressed when they begin as gzip does, as long as the bounds are kept."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._pieces = self._unpack()
        self._rest = b""
        self._read_bytes = 0
        self._unpacked_bytes = 0
        self._until = time.monotonic() + SECONDS_MAX

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes. Raises BadArchive."""
        wanted = _STEP_BYTES if size < 0 else min(size, UNPACKED_MAX_BYTES)
        pieces = [self._rest]
        length = len(self._rest)
        while length < wanted and (piece := next(self._pieces, b"")):
            pieces.append(piece)
            length += len(piece)
        together = b"".join(pieces)
        self._rest = together[wanted:]
        return together[:wanted]

    def _unpack(self) -> Iterator[bytes]:
        first = next(self._chunks, b"")
        self._came(first)
        decompress = zlib.decompressobj(wbits=31) if first[:2] == b"\x1f\x8b" else None
        piece = first
        while piece:
            yield from self._plain(piece) if decompress is None else self._inflated(decompress, piece)
            piece = next(self._chunks, b"")
            self._came(piece)

    def _plain(self, piece: bytes) -> Iterator[bytes]:
        self._went(piece)
        yield piece

    def _inflated(self, decompress: zlib._Decompress, piece: bytes) -> Iterator[bytes]:
        while piece and not decompress.eof:
            unpacked = decompress.decompress(piece, _STEP_BYTES)
            self._went(unpacked)
            if unpacked:
                yield unpacked
            piece = decompress.unconsumed_tail

    def _came(self, piece: bytes) -> None:
        self._read_bytes += len(piece)
        if self._read_bytes > ARCHIVE_MAX_BYTES:
            raise BadArchive(f"the archive is larger than {ARCHIVE_MAX_BYTES} bytes")

    def _went(self, piece: bytes) -> None:
        self._unpacked_bytes += len(piece)
        is_free = self._unpacked_bytes <= RATIO_FREE_BYTES
        if self._unpacked_bytes > UNPACKED_MAX_BYTES:
            raise BadArchive(f"the archive unpacks to more than {UNPACKED_MAX_BYTES} bytes")
        if not is_free and self._unpacked_bytes > RATIO_MAX * self._read_bytes:
            raise BadArchive(f"the archive unpacks to more than {RATIO_MAX} times its size")
        if time.monotonic() > self._until:
            raise BadArchive(f"the archive takes longer than {SECONDS_MAX:.0f} s to be read")
