"""Ranges: against what slicing the bytes gives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.distribution.ranges import RangeNotSatisfiable, parse_content_range, parse_range

sizes = st.integers(0, 1 << 40)


@given(sizes, sizes, sizes)
def test_range_is_within_what_there_is(first: int, last: int, size_bytes: int) -> None:
    try:
        part = parse_range(f"bytes={first}-{last}", size_bytes)
    except RangeNotSatisfiable:
        assert first >= size_bytes or last < first
        return
    assert part == (first, min(last, size_bytes - 1))


@given(sizes, sizes)
def test_range_without_an_end_goes_to_the_last_byte(first: int, size_bytes: int) -> None:
    if first >= size_bytes:
        with pytest.raises(RangeNotSatisfiable):
            parse_range(f"bytes={first}-", size_bytes)
    else:
        assert parse_range(f"bytes={first}-", size_bytes) == (first, size_bytes - 1)


@given(st.binary(min_size=1, max_size=50), st.integers(1, 100))
def test_suffix_is_the_last_bytes(content: bytes, length: int) -> None:
    part = parse_range(f"bytes=-{length}", len(content))
    assert part is not None
    assert content[part[0] : part[1] + 1] == content[-length:]


@pytest.mark.parametrize(
    ("header", "size_bytes"), [("bytes=-0", 5), ("bytes=-1", 0), ("bytes=0-", 0), ("bytes=0-0", 0)]
)
def test_nothing_can_be_taken_of_nothing(header: str, size_bytes: int) -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse_range(header, size_bytes)


@pytest.mark.parametrize(
    "header", ["", "bytes=", "bytes=-", "bytes", "bytes=a-b", "items=0-1", "bytes=0-1,3-4", "bytes=--1", "bytes=0 - 1",
               "bytes=" + "9" * 20 + "-", "bytes=\u0660-\u0661"],
)  # fmt: skip
def test_what_is_not_one_range_of_bytes_means_the_whole(header: str) -> None:
    assert parse_range(header, 100) is None


@given(st.text())
def test_any_text_gives_a_range_of_the_content_or_none(text: str) -> None:
    for header in (text, f"bytes={text}"):
        try:
            part = parse_range(header, 100)
        except RangeNotSatisfiable:
            continue
        assert part is None or 0 <= part[0] <= part[1] < 100


@pytest.mark.parametrize("form", ["{0}-{1}", "bytes {0}-{1}/200", "bytes={0}-{1}", "bytes {0}-{1}/*", " {0}-{1} "])
def test_content_range_is_read_in_every_form_that_clients_send(form: str) -> None:
    assert parse_content_range(form.format(5, 9)) == (5, 9)


@pytest.mark.parametrize("header", ["", "5", "5-", "-5", "9-5", "a-b", "5-9-11", "bytes 5-9/x", "9" * 20 + "-1"])
def test_malformed_content_range_is_none(header: str) -> None:
    assert parse_content_range(header) is None


@given(st.text())
def test_any_content_range_is_in_order_or_none(text: str) -> None:
    chunk = parse_content_range(text)
    assert chunk is None or 0 <= chunk[0] <= chunk[1]
