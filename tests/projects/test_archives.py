"""A hostile archive is read within bounds, or refused with the reason."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projects import archives
from projects.archives import BadArchive, read_files
from tests.api.content import tgz


def anything(_path: str) -> bool:
    return True


def in_pieces(content: bytes, size: int = 1000) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


def archive(*entries: tarfile.TarInfo) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for entry in entries:
            tar.addfile(entry, io.BytesIO(b"x" * entry.size))
    return written.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, "/etc/passwd"
    return made


@pytest.mark.parametrize("pack", [tgz, lambda files: gzip.decompress(tgz(files))])
def test_files_are_found_compressed_or_not(pack: object) -> None:
    content = pack({"a/b": b"1", "./a/c": b"2"})  # type: ignore[operator]
    assert read_files(in_pieces(content), is_wanted=anything, at_most=9) == {"a/b": b"1", "a/c": b"2"}


def test_only_plain_files_within_the_archive_count() -> None:
    content = archive(
        entry("/etc/passwd", size=1), entry("a/../../b", size=1), entry("link", tarfile.SYMTYPE),
        entry("hard", tarfile.LNKTYPE), entry("fifo", tarfile.FIFOTYPE), entry("ok", size=1),
    )  # fmt: skip
    assert read_files([content], is_wanted=anything, at_most=9) == {"ok": b"x"}


def test_what_unpacks_to_too_many_times_its_size_is_refused() -> None:
    bomb = tgz({"zeros": b"\0" * (32 << 20), "wanted": b"1"})
    with pytest.raises(BadArchive, match="times its size"):
        read_files(in_pieces(bomb), is_wanted=lambda path: path == "wanted", at_most=1)


def test_too_many_files_too_large_a_file_and_too_much_time_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadArchive, match="larger than"):
        read_files([archive(entry("a", size=archives.FILE_MAX_BYTES + 1))], is_wanted=anything, at_most=1)
    monkeypatch.setattr(archives, "FILES_MAX", 2)
    with pytest.raises(BadArchive, match="more than 2 files"):
        read_files([archive(*map(entry, "abc"))], is_wanted=anything, at_most=9)
    monkeypatch.setattr(archives, "SECONDS_MAX", -1.0)
    with pytest.raises(BadArchive, match="longer"):
        read_files([archive(entry("a"))], is_wanted=anything, at_most=9)


@given(st.binary(max_size=2000), st.booleans())
def test_any_bytes_are_read_or_refused(content: bytes, is_packed: bool) -> None:
    with suppress(BadArchive):
        found = read_files([gzip.compress(content) if is_packed else content], is_wanted=anything, at_most=5)
        assert len(found) <= 5
