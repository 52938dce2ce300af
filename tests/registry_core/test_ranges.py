"""Ranges: against what slicing the bytes gives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.distribution.ranges import RANGES_MAX, Range, RangeNotSatisfiable, parse_content_range, parse_ranges

sizes = st.integers(0, 1 << 40)


@given(sizes, sizes, sizes)
def test_range_is_within_what_there_is(first: int, last: int, size_bytes: int) -> None:
    try:
        parts = parse_ranges(f"bytes={first}-{last}", size_bytes)
    except RangeNotSatisfiable:
        assert first >= size_bytes or last < first
        return
    assert parts == [(first, min(last, size_bytes - 1))]


@given(sizes, sizes)
def test_range_without_an_end_goes_to_the_last_byte(first: int, size_bytes: int) -> None:
    if first >= size_bytes:
        with pytest.raises(RangeNotSatisfiable):
            parse_ranges(f"bytes={first}-", size_bytes)
    else:
        assert parse_ranges(f"bytes={first}-", size_bytes) == [(first, size_bytes - 1)]


@given(st.binary(min_size=1, max_size=50), st.integers(1, 100))
def test_suffix_is_the_last_bytes(content: bytes, length: int) -> None:
    parts = parse_ranges(f"bytes=-{length}", len(content))
    assert parts is not None
    assert content[parts[0][0] : parts[0][1] + 1] == content[-length:]


@pytest.mark.parametrize(
    ("header", "size_bytes"), [("bytes=-0", 5), ("bytes=-1", 0), ("bytes=0-", 0), ("bytes=0-0", 0)]
)
def test_nothing_can_be_taken_of_nothing(header: str, size_bytes: int) -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse_ranges(header, size_bytes)


@pytest.mark.parametrize(
    "header", ["", "bytes=", "bytes=-", "bytes", "bytes=a-b", "items=0-1", "bytes=0-1,x", "bytes=0-1,-", "bytes=,",
               "bytes=--1", "bytes=0 - 1",
               "bytes=" + "9" * 20 + "-", "bytes=\u0660-\u0661"],
)  # fmt: skip
def test_what_is_no_list_of_ranges_of_bytes_means_the_whole(header: str) -> None:
    assert parse_ranges(header, 100) is None


@given(st.text())
def test_any_text_gives_a_range_of_the_content_or_none(text: str) -> None:
    for header in (text, f"bytes={text}"):
        try:
            parts = parse_ranges(header, 100)
        except RangeNotSatisfiable:
            continue
        assert parts is None or all(0 <= first <= last < 100 for first, last in parts)


specifications = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda ends: f"{min(ends)}-{max(ends)}"),
        st.integers(0, 40).map(lambda first: f"{first}-"),
        st.integers(0, 40).map(lambda length: f"-{length}"),
    ),
    min_size=1,
    max_size=12,
)


def bytes_of(specification: str, size_bytes: int) -> set[int]:
    """The model: which bytes one range means."""
    first, _, last = specification.partition("-")
    everything = range(size_bytes)
    if not first:
        return set(everything[max(0, size_bytes - int(last)) :])
    return set(everything[int(first) : int(last) + 1 if last else size_bytes])


@given(specifications, st.integers(0, 30), st.sampled_from([",", ", ", " ,\t", ",,"]))
def test_ranges_give_each_byte_asked_for_once(specified: list[str], size_bytes: int, separator: str) -> None:
    wanted = set().union(*(bytes_of(one, size_bytes) for one in specified))
    try:
        parts = parse_ranges(f"bytes={separator.join(specified)}", size_bytes)
    except RangeNotSatisfiable:
        assert not wanted
        return
    assert parts is not None
    given = [byte for first, last in parts for byte in range(first, last + 1)]
    assert len(given) == len(set(given))
    assert set(given) == wanted


@given(specifications)
def test_ranges_that_do_not_overlap_come_as_they_were_asked_for(specified: list[str]) -> None:
    asked = [(min(found), max(found)) for one in specified if (found := bytes_of(one, 50))]
    if not asked or any(overlap(one, other) for place, one in enumerate(asked) for other in asked[:place]):
        return
    assert parse_ranges("bytes=" + ",".join(specified), 50) == asked


def overlap(one: Range, other: Range) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def test_ranges_that_touch_stay_apart_since_clients_count_the_parts() -> None:
    assert parse_ranges("bytes=0-4,5-9,10-14", 100) == [(0, 4), (5, 9), (10, 14)]


def test_more_ranges_than_any_client_needs_mean_the_whole() -> None:
    many = [f"{first * 2}-{first * 2}" for first in range(RANGES_MAX + 1)]
    assert parse_ranges("bytes=" + ",".join(many), 10_000) is None
    assert len(parse_ranges("bytes=" + ",".join(many[:-1]), 10_000) or []) == RANGES_MAX


def test_one_impossible_range_spoils_a_list() -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse_ranges("bytes=0-1,9-5", 100)


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
