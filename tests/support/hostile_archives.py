"""Archives and documents that were made to hurt whoever reads them."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib

BLOCK = 512


def header(
    name: bytes = b"chart/values.yaml",
    *,
    size: int | bytes = 0,
    kind: bytes = b"0",
    link: bytes = b"",
    prefix: bytes = b"",
) -> bytes:
    """A ustar header with a right checksum, whatever stands in it. `size`: a number, or the field as it is."""
    field = size if isinstance(size, bytes) else b"%011o\0" % size
    fields = [
        (name, 100), (b"0000644\0", 8), (b"0000000\0", 8), (b"0000000\0", 8), (field, 12), (b"00000000000\0", 12),
        (b" " * 8, 8), (kind, 1), (link, 100), (b"ustar\x0000", 8), (b"root", 32), (b"root", 32), (b"0000000\0", 8),
        (b"0000000\0", 8), (prefix, 155), (b"", 12),
    ]  # fmt: skip
    made = b"".join(field.ljust(length, b"\0")[:length] for field, length in fields)
    return made[:148] + b"%06o\0 " % sum(made) + made[156:]


def entry(name: bytes, content: bytes = b"", *, kind: bytes = b"0", link: bytes = b"") -> bytes:
    """A header with its content."""
    return header(name, size=len(content), kind=kind, link=link) + padded(content)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


def record(key: bytes, value: bytes) -> bytes:
    """A record of a pax header."""
    length = len(key) + len(value) + 3
    while length != len(str(length)) + len(key) + len(value) + 3:
        length = len(str(length)) + len(key) + len(value) + 3
    return b"%d %s=%s\n" % (length, key, value)


END = bytes(2 * BLOCK)
VALUES = entry(b"chart/values.yaml", b"a: 1\n")
PAX = b"x"
GLOBAL = b"g"


def pax(*records: bytes, kind: bytes = PAX) -> bytes:
    return entry(b"pax", b"".join(records), kind=kind)


def file_of_zeros(size: int) -> bytes:
    """A large file of zeros, as gzip packs it, made piece by piece."""
    packer = zlib.compressobj(9, wbits=31)
    pieces = [packer.compress(header(b"chart/zeros", size=size))]
    pieces += [packer.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join([*pieces, packer.flush()])


def many_files(number: int) -> bytes:
    written = io.BytesIO()
    with gzip.GzipFile(fileobj=written, mode="wb", compresslevel=1) as packed:
        for _ in range(number // 1000):
            packed.write(entry(b"chart/x") * 1000)
    return written.getvalue()


def sparse(size: int) -> bytes:
    """A file with holes in GNU's old form, with a chain of further headers."""
    made = bytearray(header(b"chart/values.yaml", size=BLOCK, kind=b"S"))
    made[257:265] = b"ustar  \0"
    made[386:398] = b"%011o\0" % 0
    made[482] = 1
    made[148:156] = b"%06o\0 " % (sum(made[:148]) + 8 * 32 + sum(made[156:]))
    further = bytearray(BLOCK)
    further[504] = 1
    return bytes(made) + bytes(further) * size + bytes(BLOCK) + bytes(BLOCK)


HOSTILE_ARCHIVES: dict[str, bytes] = {
    "a pax header of digits": gzip.compress(entry(b"pax", b"1" * 60_000, kind=PAX) + VALUES + END),
    "a pax header of a million digits": gzip.compress(entry(b"pax", b"1" * (1 << 20), kind=PAX) + VALUES + END),
    "four million short records": gzip.compress(pax(b"6 a=b\n" * 4_000_000) + VALUES + END, 1),
    "a global header before many files": gzip.compress(
        pax(record(b"comment", b"x" * 30_000), record(b"path", b"y" * 30_000), kind=GLOBAL) + VALUES * 3 + END
    ),
    "many global headers": gzip.compress(pax(record(b"comment", b"x" * 60_000), kind=GLOBAL) * 1000 + VALUES + END),
    "a negative size": pax(record(b"size", b"-1")) + VALUES + END,
    "a size of 4,000 digits": pax(record(b"size", b"9" * 4000)) + VALUES + END,
    "a size of 19 digits": pax(record(b"size", b"9" * 19)) + VALUES + END,
    "a size that is no number": pax(record(b"size", "٣".encode())) + VALUES + END,
    "a record longer than its header": entry(b"pax", b"999 path=a\n", kind=PAX) + VALUES + END,
    "a record of length 0": entry(b"pax", b"0 path=a\n", kind=PAX) + VALUES + END,
    "a record without an end": entry(b"pax", b"10 path=aa", kind=PAX) + VALUES + END,
    "a negative size in base 256": header(size=b"\xff" * 12) + END,
    "a huge size in base 256": header(size=b"\x80" + b"\xff" * 11) + END,
    "a size that is no octal number": header(size=b"00000000009\0") + END,
    "a size with signs": header(size=b"+0000000001\0") + END,
    "a size of 8 GiB": header(size=b"77777777777\0") + END,
    "long names without end": gzip.compress(entry(b"long", b"a" * 60_000, kind=b"L") * 1000 + VALUES + END),
    "long links without end": gzip.compress(entry(b"long", b"a" * 60_000, kind=b"K") * 1000 + VALUES + END),
    "a long name of 8 GiB": header(size=b"77777777777\0", kind=b"L") + END,
    "empty extended headers without end": gzip.compress(header(kind=b"x") * 100_000 + VALUES + END),
    "an extended header at the end": pax(record(b"path", b"a")) + END,
    "a chain of headers of holes": gzip.compress(sparse(100_000) + END),
    "a million files": many_files(1_000_000),
    "zeros": file_of_zeros(1 << 30),
    "gzip in gzip": gzip.compress(gzip.compress(VALUES)),
    "a million empty members": gzip.compress(b"") * 1_000_000,
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(100),
    "xz": b"\xfd7zXZ\0" + bytes(600),
    "zip": b"PK\x03\x04" + bytes(600),
    "no archive": b"no archive",
    "a wrong checksum": VALUES.replace(b"chart", b"CHART", 1) + END,
    "no checksum": VALUES[:148] + bytes(8) + VALUES[156:] + END,
    "damaged gzip": gzip.compress(VALUES + END)[:20] + b"\0" * 30,
    "cut gzip": gzip.compress(entry(b"chart/x", bytes(range(256)) * 9) + END)[:-40],
    "cut in a header": entry(b"chart/x") + VALUES[:100],
    "cut in a file": header(size=1000) + b"x" * 700,
    "a gzip header with an endless name": b"\x1f\x8b\x08\x08" + bytes([0] * 6) + b"a" * (1 << 20),
    "a file of 2 MiB": entry(b"chart/values.yaml", b"x" * (2 << 20)) + END,
}  # fmt: skip

_NODES = [(tarfile.SYMTYPE, b"/etc/passwd"), (tarfile.LNKTYPE, b"/etc/passwd"), (tarfile.CHRTYPE, b""),
          (tarfile.BLKTYPE, b""), (tarfile.DIRTYPE, b""), (tarfile.FIFOTYPE, b""), (b"S", b""), (b"D", b""),
          (b"M", b""), (b"V", b""), (b"Z", b"")]  # fmt: skip
USELESS_ARCHIVES: dict[str, bytes] = {
    "nothing": b"",
    "an end": END,
    "an empty gzip": gzip.compress(b""),
    **{f"a {kind!r} in the place of the file": entry(b"chart/values.yaml", kind=kind, link=link) + END
       for kind, link in _NODES},
    "holes": sparse(3) + END,
    "holes in pax": pax(record(b"GNU.sparse.major", b"1"), record(b"GNU.sparse.minor", b"0")) + VALUES + END,
    "an absolute path": entry(b"/chart/values.yaml", b"x") + END,
    "a path out of it": entry(b"chart/../../chart/values.yaml", b"x") + END,
    "an absolute long name": entry(b"long", b"/chart/values.yaml\0", kind=b"L") + VALUES + END,
    "a path out of it in pax": pax(record(b"path", b"chart/../values.yaml")) + VALUES + END,
    "behind the end": END + VALUES + END,
}  # fmt: skip

MIB = 1 << 20
HOSTILE_YAML: dict[str, bytes] = {
    "a number of base 60": b"version: 1" + b":1" * 30_000,
    "a number of base 60 of 400 KB": b"version: 1" + b":1" * 200_000,
    "flow maps": b"a: " + b"{a: " * 250,
    "flow lists": b"[" * 60_000,
    "flow pairs": b"[" + b"{a: b}," * 8_000 + b"]",
    "simple keys": b"[" * 900 + b"a: b",
    "blocks": b"".join(b" " * depth + b"- a:\n" for depth in range(300)),
    "an alias bomb": b"a: &a [x]\nb: &b [*a, *a]\ndependencies: [*b, *b]\n",
    "a recursive alias": b"dependencies: &a [*a]\n",
    "a merge key": b"a: &a {name: x}\ndependencies:\n- <<: *a\n",
    "a MiB of spaces": b" " * MIB,
    "tabs": b"\t" * 60_000,
    "two documents": b"a: b\n---\nc: d\n",
    "a control character": b"a: \x01",
    "a list as a key": b"? [a, b]\n: c\n",
    "not closed": b'a: "' + b"x" * 60_000,
    "escapes": b'a: "' + b"\\U0010FFFF" * 6_000 + b'"',
    "a wrong escape": b'a: "\\U99999999"',
    "directives": b"%YAML 9.9\n%TAG ! tag:" + b"x" * 60_000 + b"\n---\na: b\n",
    "comments": b"# x\n" * 15_000,
    "anchors": b"".join(b"&a%d x: y\n" % number for number in range(5_000)),
}
HARMLESS_YAML: dict[str, tuple[bytes, str]] = {
    "a hexadecimal number of 6,000 digits": (b"0x" + b"f" * 6_000, "0x" + "f" * 6_000),
    "a decimal number of 6,000 digits": (b"9" * 6_000, "9" * 6_000),
    "a fraction of base 60": (b"1" + b":1" * 1_000 + b".5", "1" + ":1" * 1_000 + ".5"),
    "an empty integer": (b"!!int ''", ""),
    "an empty fraction": (b"!!float ''", ""),
    "a word as a boolean": (b"!!bool foo", "foo"),
    "a word as a time": (b"!!timestamp foo", "foo"),
    "a time that is none": (b"2026-99-99", "2026-99-99"),
    "binary": (b"!!binary '===='", "===="),
    "a Python object": (b"!!python/object/apply:os.system ['id']", ""),
    "a boolean": (b"on", "on"),
    "a version like a number": (b"1.10", "1.10"),
    "infinite": (b".inf", ".inf"),
    "nothing": (b"~", "~"),
    "a list": (b"[a]", ""),
    "an anchor that nobody uses": (b"&a x", "x"),
}
HOSTILE_JSON: dict[str, bytes] = {
    "lists in lists": b"[" * (2 * MIB) + b"]" * (2 * MIB),
    "objects in objects": b'{"a":' * 100_000,
    "a number of 4 MB": b'{"history":[' + b"9" * (4 * MIB - 100) + b"]}",
    "not a number": b'{"history":[NaN]}',
    "infinite": b'{"history":[-Infinity]}',
    "not UTF-8": b'{"history":["\xff"]}',
    "cut": b'{"history":["a"',
    "two": b"{}{}",
    "a byte order mark": b"\xef\xbb\xbf[}",
    "empty": b"",
    "more than is read": b" " * (4 * MIB + 1),
}
HARMLESS_JSON: dict[str, bytes] = {
    "a list": b"[]",
    "a number": b"1",
    "no list": b'{"history":1}',
    "empty lists": b'{"x":[' + b"[]," * (MIB) + b"[]]}",
    "a key twice": b'{"history":[1],"history":[]}',
    "many keys": b"{" + b",".join(b'"%x":0' % number for number in range(300_000)) + b"}",
    "half a pair": b'{"history":["\\ud800"]}',
    "a fraction of 4 MB": b'{"a":1.' + b"3" * (4 * MIB - 100) + b"}",
}
