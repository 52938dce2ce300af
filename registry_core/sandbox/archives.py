"""Reader of tar archives, from their 512-byte headers up, for the child only. POSIX.1-2017 `pax`, GNU tar's manual
"Basic Tar Format".

Everything is bounded before it is parsed: unpacked bytes, each extended header and their sum, the number of entries.
Only the content of regular files is returned; nothing is ever written.
"""

from __future__ import annotations

import zlib

from registry_core.sandbox.errors import Damaged, TooLarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry_core.sandbox.child import Input

FILE, HARD_LINK, LINK, CHARACTER_DEVICE, BLOCK_DEVICE, FOLDER, PIPE = "0", "1", "2", "3", "4", "5", "6"
SPARSE = "S"
_BLOCK = 512
_STEP_BYTES = 64 << 10
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_EXTENDED_MAX_BYTES = 64 << 10  # of one entry's extended headers together
_ALL_EXTENDED_MAX_BYTES = 4 << 20
_RATIO_MAX = 200
_RATIO_FREE_BYTES = 4 << 20
_LINKS_AND_NODES = frozenset({HARD_LINK, LINK, CHARACTER_DEVICE, BLOCK_DEVICE, FOLDER, PIPE})
_DIGITS = frozenset(b"0123456789")
_OCTAL = frozenset(b"01234567")


class Entry:
    """One entry. `path`: relative and within the archive; empty if it is not. `kind`: one of the above."""

    __slots__ = ("kind", "link", "path", "size_bytes")

    def __init__(self, path: str, kind: str, size_bytes: int, link: str) -> None:
        self.path = path
        self.kind = kind
        self.size_bytes = size_bytes
        self.link = link


class Archive:
    """The entries of a tar archive, plain or compressed with gzip, in their order."""

    def __init__(self, source: Input, *, unpacked_bytes: int, entries: int) -> None:
        """`unpacked_bytes`: the most bytes to unpack. `entries`: the most headers to read."""
        self._stream = _Unpacked(source, unpacked_bytes)
        self._entries_max = entries
        self._headers = 0
        self._extended_bytes = 0
        self._left_bytes = 0  # of the content of the present entry
        self._padding_bytes = 0

    def __iter__(self) -> Iterator[Entry]:
        """Raises TooLarge or Damaged."""
        while True:
            self._stream.skip(self._left_bytes + self._padding_bytes)
            self._left_bytes = self._padding_bytes = 0
            entry = self._next()
            if entry is None:
                return
            yield entry

    def content(self, limit_bytes: int) -> bytes:
        """The content of the regular file that was returned last. Raises TooLarge or Damaged."""
        if self._left_bytes > limit_bytes:
            raise TooLarge(f"a file in it is larger than {limit_bytes} bytes")
        size_bytes, self._left_bytes = self._left_bytes, 0
        return self._stream.exactly(size_bytes)

    def _next(self) -> Entry | None:
        extended: dict[str, bytes] = {}
        extended_bytes = 0
        while (header := self._header()) is not None:
            kind, size_bytes = header[156:157], _number(header[124:136])
            if kind not in _EXTENDED:
                return self._entry(header, extended, size_bytes)
            extended_bytes += size_bytes
            self._extended_bytes += size_bytes
            if extended_bytes > _EXTENDED_MAX_BYTES or self._extended_bytes > _ALL_EXTENDED_MAX_BYTES:
                raise TooLarge(f"its extended headers are larger than {_EXTENDED_MAX_BYTES} bytes")
            content = self._stream.exactly(size_bytes)
            self._stream.skip(-size_bytes % _BLOCK)
            _EXTENDED[kind](content, extended)
        if extended:
            raise Damaged("it ends after an extended header")
        return None

    def _header(self) -> bytes | None:
        """The next header; None at the end of the archive, marked or not."""
        header = self._stream.up_to(_BLOCK)
        if not header or header == bytes(_BLOCK):
            return None
        self._headers += 1
        if self._headers > self._entries_max:
            raise TooLarge(f"it has more than {self._entries_max} files")
        if len(header) < _BLOCK or not _is_sum_right(header):
            raise Damaged("it is not a tar archive, or a damaged one")
        return header

    def _entry(self, header: bytes, extended: dict[str, bytes], size_bytes: int) -> Entry:
        name = extended.get("path", _name(header))
        kind = chr(header[156])
        if "size" in extended:
            size_bytes = _decimal(extended["size"])
        if kind in {"\0", "7", FILE}:
            kind = FOLDER if kind == "\0" and name.endswith(b"/") else FILE
        has_content = kind not in _LINKS_AND_NODES
        if kind == SPARSE:
            self._skip_sparse_headers(header)
        elif kind == FILE and "GNU.sparse" in extended:
            kind = SPARSE
        if has_content:
            self._left_bytes, self._padding_bytes = size_bytes, -size_bytes % _BLOCK
        link = extended.get("linkpath", _text(header[157:257]))
        return Entry(_path(name), kind, size_bytes, link.decode("utf-8", errors="replace"))

    def _skip_sparse_headers(self, header: bytes) -> None:
        is_more = header[482] != 0
        while is_more:
            self._headers += 1
            if self._headers > self._entries_max:
                raise TooLarge(f"it has more than {self._entries_max} headers")
            is_more = self._stream.exactly(_BLOCK)[504] != 0


class _Unpacked:
    """The archive's bytes, unpacked if they begin like gzip, within the limits."""

    def __init__(self, source: Input, limit_bytes: int) -> None:
        self._source = source
        self._limit_bytes = limit_bytes
        self._unpacked_bytes = 0
        self._pieces = self._unpack()
        self._buffer, self._at = b"", 0

    def exactly(self, size: int) -> bytes:
        """The next `size` bytes. Raises Damaged if there are fewer, or TooLarge."""
        found = self.up_to(size)
        if len(found) < size:
            raise Damaged("it ends in the middle")
        return found

    def up_to(self, size: int) -> bytes:
        """The next `size` bytes, or the rest. Raises TooLarge or Damaged."""
        if len(self._buffer) - self._at < size:
            pieces = [self._buffer[self._at :]]
            length = len(pieces[0])
            while length < size and (piece := next(self._pieces, b"")):
                pieces.append(piece)
                length += len(piece)
            self._buffer, self._at = b"".join(pieces), 0
        found = self._buffer[self._at : self._at + size]
        self._at += len(found)
        return found

    def skip(self, size: int) -> None:
        """Skip `size` bytes. Raises as `exactly`."""
        while size > (here := len(self._buffer) - self._at):
            size -= here
            self._buffer, self._at = next(self._pieces, b""), 0
            if not self._buffer:
                raise Damaged("it ends in the middle")
        self._at += size

    def _unpack(self) -> Iterator[bytes]:
        piece = self._source.read()
        while 0 < len(piece) < len(_ZSTD) and (more := self._source.read()):
            piece += more
        if piece.startswith(_ZSTD):
            raise Damaged("it is compressed with zstd, which is not supported")
        yield from self._inflate(piece) if piece.startswith(_GZIP) else self._plain(piece)

    def _plain(self, piece: bytes) -> Iterator[bytes]:
        while piece:
            self._count(piece)
            yield piece
            piece = self._source.read()

    def _inflate(self, piece: bytes) -> Iterator[bytes]:
        """Unpack the members of a gzip file one after the other (RFC 1952, section 2.2), until other data follows."""
        while piece.startswith(_GZIP):
            member = zlib.decompressobj(wbits=31)
            while piece and not member.eof:
                yield from self._inflated(member, piece)
                piece = member.unconsumed_tail or (b"" if member.eof else self._source.read())
            if not member.eof:
                raise Damaged("it ends in the middle")
            piece = member.unused_data
            while 0 < len(piece) < len(_GZIP) and (more := self._source.read()):
                piece += more
            piece = piece or self._source.read()

    def _inflated(self, member: zlib._Decompress, piece: bytes) -> Iterator[bytes]:
        try:
            unpacked = member.decompress(piece, _STEP_BYTES)
        except zlib.error:
            raise Damaged("its gzip compression is invalid or damaged") from None
        if unpacked:
            self._count(unpacked)
            yield unpacked

    def _count(self, piece: bytes) -> None:
        self._unpacked_bytes += len(piece)
        if self._unpacked_bytes > self._limit_bytes:
            raise TooLarge(f"it unpacks to more than {self._limit_bytes} bytes")
        if self._unpacked_bytes > max(_RATIO_FREE_BYTES, _RATIO_MAX * self._source.read_bytes):
            raise TooLarge(f"it unpacks to more than {_RATIO_MAX} times its size")


def _is_sum_right(header: bytes) -> bool:
    """The checksum counts its own field as spaces. Some old programs summed signed characters."""
    stated = header[148:156].strip(b"\0 ")
    if not stated or not _OCTAL.issuperset(stated):
        return False
    counted = header[:148] + b"        " + header[156:]
    unsigned = sum(counted)
    return int(stated, 8) in {unsigned, unsigned - 256 * sum(byte > 127 for byte in counted)}


def _number(field: bytes) -> int:
    """A size: octal digits, or GNU's base 256 for larger sizes. Raises Damaged."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b"\0 ")
    if not _OCTAL.issuperset(digits):
        raise Damaged("a size in it is not a number")
    return int(digits or b"0", 8)


def _decimal(field: bytes) -> int:
    if not field or len(field) > 19 or not _DIGITS.issuperset(field):
        raise Damaged("a size in it is not a number")
    return int(field)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _name(header: bytes) -> bytes:
    name, prefix = _text(header[:100]), _text(header[345:500])
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def _path(name: bytes) -> str:
    """The normalised path; empty if it leads out of the archive."""
    text = _text(name).decode("utf-8", errors="replace")
    parts = [part for part in text.split("/") if part not in {"", "."}]
    return "" if text.startswith("/") or ".." in parts else "/".join(parts)


def _add_records(content: bytes, extended: dict[str, bytes]) -> None:
    """Collect the records of a pax header that define an entry: `<length> <key>=<value>\\n`. Raises Damaged."""
    place = 0
    while place < len(content):
        space = content.find(b" ", place, place + 8)
        length = _decimal(content[place:space]) if space > 0 else 0
        end = place + length
        if length < space - place + 3 or end > len(content) or content[end - 1] != 0x0A:
            raise Damaged("an extended header of it is damaged")
        key, _, value = content[space + 1 : end - 1].partition(b"=")
        if key in {b"path", b"linkpath", b"size"}:
            extended[key.decode()] = value
        elif key.startswith(b"GNU.sparse."):
            extended["GNU.sparse"] = b""
        place = end


def _add_global_records(content: bytes, _extended: dict[str, bytes]) -> None:
    """Global records, such as git's comment, must not define entries. Raises Damaged."""
    said: dict[str, bytes] = {}
    _add_records(content, said)
    if said:
        raise Damaged("a global header redefines its entries")


def _add_long_name(content: bytes, extended: dict[str, bytes]) -> None:
    extended["path"] = _text(content)


def _add_long_link(content: bytes, extended: dict[str, bytes]) -> None:
    extended["linkpath"] = _text(content)


_EXTENDED = {
    b"x": _add_records,
    b"X": _add_records,
    b"g": _add_global_records,
    b"L": _add_long_name,
    b"K": _add_long_link,
}
