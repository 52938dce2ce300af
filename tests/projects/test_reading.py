"""What hostile charts, models and configs come to: a result, or a clear refusal, within the limits."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projects.readers import CHART_FILES, DEPENDENCIES, DOCUMENT, HISTORY, MODEL_DOCUMENTS, MODEL_FILES, TEXT
from projects.reading.dependencies import dependencies
from projects.reading.files import chart_files
from projects.reading.json_documents import history, model_files
from registry_core.sandbox.archives import Archive
from registry_core.sandbox.errors import Damaged, TooLarge, TooSlow, Unreadable
from registry_core.sandbox.reading import Reader, read
from tests.api.content import tgz
from tests.support.hostile_archives import (
    END,
    HARMLESS_JSON,
    HARMLESS_YAML,
    HOSTILE_ARCHIVES,
    HOSTILE_JSON,
    HOSTILE_YAML,
    USELESS_ARCHIVES,
    VALUES,
    entry,
    header,
    pax,
    record,
)

WITHIN_S = 15.0  # the limits of the sandbox, on a busy machine
NAMES = ["values.yaml"]


class Pieces:
    """An input as the child has it, from bytes in memory."""

    def __init__(self, content: bytes, size: int = 1000) -> None:
        self._pieces = (content[start : start + size] for start in range(0, len(content), size))
        self.read_bytes = 0

    def read(self) -> bytes:
        piece = next(self._pieces, b"")
        self.read_bytes += len(piece)
        return piece

    def read_all(self) -> bytes:
        return b"".join(iter(self.read, b""))


@pytest.fixture
def in_time() -> Iterator[None]:
    begin_s = time.monotonic()
    yield
    assert time.monotonic() - begin_s < WITHIN_S


def in_sandbox(reader: Reader[Any], content: bytes, **arguments: Any) -> Any:
    return read(reader, [content], share="test", **arguments)


def here(content: bytes, size: int = 1000) -> dict[str, str]:
    return chart_files(Pieces(content, size), names=NAMES)  # type: ignore[arg-type]


def chart(text: bytes) -> bytes:
    return tgz({"chart/Chart.yaml": text})


@pytest.mark.parametrize("name", HOSTILE_ARCHIVES)
@pytest.mark.usefixtures("in_time")
def test_a_hostile_archive_is_refused_in_time(name: str) -> None:
    found: object = None
    try:
        found = in_sandbox(CHART_FILES, HOSTILE_ARCHIVES[name], names=NAMES)
    except (TooLarge, Damaged, TooSlow) as refused:
        found = str(refused)
    # A fast machine reads the members to their end within the limits.
    assert found or (name, found) == ("a million empty members", {})


@pytest.mark.parametrize("name", USELESS_ARCHIVES)
def test_what_is_no_plain_file_of_the_archive_is_not_shown(name: str) -> None:
    assert in_sandbox(CHART_FILES, USELESS_ARCHIVES[name], names=NAMES) == {}


@pytest.mark.parametrize("pack", [tgz, lambda files: gzip.decompress(tgz(files))])
@pytest.mark.parametrize("size", [1, 2, 3, 511, 513, 1 << 20])
def test_files_are_found_compressed_or_not(pack: Callable[[dict[str, bytes]], bytes], size: int) -> None:
    content = pack({"a/b/values.yaml": b"no", "./a/Values.yaml": b"1", "b/values.yaml": b"2"})
    assert here(content, size) == {"values.yaml": "1"}


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(VALUES) + gzip.compress(END),
        gzip.compress(VALUES[:700]) + gzip.compress(b"") + gzip.compress(VALUES[700:] + END) + bytes(512),
        pax(record(b"comment", b"of git"), kind=b"g") + VALUES,
        pax(record(b"path", b"chart/values.yaml"), record(b"mtime", b"1.5")) + entry(b"another", b"a: 1\n") + END,
        pax(record(b"path", b"no")) + pax(record(b"path", b"chart/values.yaml")) + entry(b"another", b"a: 1\n") + END,
        pax(record(b"size", b"5")) + header(size=0) + b"a: 1\n".ljust(512, b"\0") + END,
        entry(b"long", b"chart/values.yaml\0", kind=b"L") + entry(b"another", b"a: 1\n") + END,
        header(b"values.yaml", size=b"\x80" + bytes(10) + b"\x05", prefix=b"chart") + b"a: 1\n".ljust(512, b"\0"),
        entry(b"chart/x", kind=b"2", link=b"y") + entry(b"chart/y", b"12", kind=b"7") + VALUES,
        header(b"chart/folder/", kind=b"\0") + VALUES,
        VALUES + entry(b"chart/values.yaml", b"the second"),
    ],
)
def test_the_forms_that_archives_have_are_read(content: bytes) -> None:
    assert here(content) == {"values.yaml": "a: 1\n"}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("folder", ["c", "f" * 90, "ü" * 60, "g" * 300])
def test_archives_of_each_form_are_read_as_the_standard_library_reads_them(form: int, folder: str) -> None:
    written = io.BytesIO()
    files = {f"{folder}/a": b"1" * 1000, f"{folder}/values.yaml": b"a: 1\n", f"{folder}/b/c/{'d' * 90}": b""}
    with tarfile.open(fileobj=written, mode="w", format=form) as tar:
        for name, content in files.items():
            made = tarfile.TarInfo(name)
            made.size = len(content)
            with suppress(ValueError):  # what ustar cannot name
                tar.addfile(made, io.BytesIO(content))
    with tarfile.open(fileobj=io.BytesIO(written.getvalue())) as tar:
        expected = tar.getmembers()
    archive = Archive(Pieces(written.getvalue()), unpacked_bytes=1 << 20, entries=100)  # type: ignore[arg-type]
    assert [(found.path, found.size_bytes) for found in archive] == [(known.name, known.size) for known in expected]


def test_an_archive_that_is_cut_anywhere_gives_the_file_or_is_refused() -> None:
    for whole in (VALUES + END, gzip.compress(VALUES + END)):
        for length in range(len(whole)):
            with suppress(Damaged):
                assert here(whole[:length]) in ({}, {"values.yaml": "a: 1\n"})


def test_a_bomb_that_is_not_shown_is_not_unpacked_to_its_end() -> None:
    bomb = tgz({"zeros": b"\0" * (32 << 20), "chart/values.yaml": b"1"})
    with pytest.raises(TooLarge, match="times its size"):
        here(bomb)


@pytest.mark.parametrize("name", HOSTILE_YAML)
@pytest.mark.usefixtures("in_time")
def test_a_hostile_chart_yaml_gives_nothing_or_is_refused_in_time(name: str) -> None:
    with suppress(Unreadable):
        assert in_sandbox(DEPENDENCIES, chart(HOSTILE_YAML[name])) == []


@pytest.mark.parametrize("name", HARMLESS_YAML)
def test_every_scalar_of_a_chart_yaml_is_the_text_that_it_is_written_as(name: str) -> None:
    written, shown = HARMLESS_YAML[name]
    found = in_sandbox(DEPENDENCIES, chart(b"dependencies:\n- {name: base}\n- version: " + written + b"\n"))
    assert found == [
        {"name": "base", "version": "", "repository": ""},
        {"name": "", "version": shown, "repository": ""},
    ]


def test_all_dependencies_are_shown_as_far_as_their_list_may_be_read() -> None:
    assert len(in_sandbox(DEPENDENCIES, chart(b"dependencies:\n" + b"- {name: x}\n" * 3_000))) == 3_000
    with pytest.raises(TooLarge, match="YAML is larger than"):
        in_sandbox(DEPENDENCIES, chart(b"dependencies:\n" + b"- {name: x}\n" * 6_000))


@pytest.mark.parametrize("reader", [HISTORY, MODEL_FILES, MODEL_DOCUMENTS])
@pytest.mark.parametrize("name", HOSTILE_JSON)
@pytest.mark.usefixtures("in_time")
def test_hostile_json_is_refused_in_time(reader: Reader[Any], name: str) -> None:
    arguments = {"name": "readme"} if reader is MODEL_DOCUMENTS else {}
    with pytest.raises(Unreadable):
        in_sandbox(reader, HOSTILE_JSON[name], **arguments)


@pytest.mark.parametrize("name", HARMLESS_JSON)
@pytest.mark.usefixtures("in_time")
def test_odd_json_gives_a_history_that_is_json(name: str) -> None:
    assert isinstance(json.loads(in_sandbox(HISTORY, HARMLESS_JSON[name])), list)


def test_documents_are_texts_whatever_their_bytes() -> None:
    assert in_sandbox(TEXT, b"a\xff\0") == "a\ufffd\0"
    assert in_sandbox(DOCUMENT, tgz({"x/README.md": b"\xff"}), name="readme") == "\ufffd"
    with pytest.raises(TooLarge):
        in_sandbox(TEXT, bytes((1 << 20) + 1))


headers = st.builds(
    header,
    st.sampled_from([b"chart/values.yaml", b"chart/", b"a" * 100, b"../x", b"\xff\xfe"]),
    size=st.integers(0, 2000) | st.binary(min_size=12, max_size=12),
    kind=st.sampled_from([bytes([kind]) for kind in b"01234567xXgLKSDMVA"] + [b"\0"]),
    prefix=st.sampled_from([b"", b"chart"]),
)
records = st.builds(
    record, st.sampled_from([b"path", b"size", b"linkpath", b"GNU.sparse.name", b"x"]), st.binary(max_size=30)
)
blocks = (
    headers | st.lists(records, max_size=3).map(lambda found: pax(*found)) | st.binary(max_size=1100) | st.just(VALUES)
)


@given(st.lists(blocks, max_size=8).map(b"".join), st.booleans(), st.integers(1, 700))
def test_whatever_looks_like_an_archive_is_read_or_refused(content: bytes, is_packed: bool, size: int) -> None:
    with suppress(TooLarge, Damaged):
        assert set(here(gzip.compress(content) if is_packed else content, size)) <= set(NAMES)


@given(st.text(alphabet="ab:-[]{}&*!|>'\"%#?,\n \t\\01x~<=.", max_size=200))
@settings(deadline=None)
def test_any_yaml_is_read_or_refused(text: str) -> None:
    with suppress(TooLarge, Damaged, RecursionError):
        found = dependencies(Pieces(chart(text.encode())))  # type: ignore[arg-type]
        assert all(isinstance(value, str) for each in found for value in each.values())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["history", "layers", "annotations", "size",
        "mediaType", "digest", "org.cncf.model.filepath"]) | st.text(), inner),
)  # fmt: skip


@given(json_values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200))
def test_any_json_is_read_or_refused(content: bytes) -> None:
    for function in (history, model_files):
        with suppress(Damaged):
            assert isinstance(json.loads(function(Pieces(content))), list)  # type: ignore[arg-type]
