"""The history checker itself: it finds what it is there to find."""

from __future__ import annotations

from tests.support.linearizability import GONE, Operation, staleness_s, violations

ORDER = ["a", "b", "c"]
WRITES = [Operation(0, 1, "a"), Operation(2, 3, "b"), Operation(4, 5, "c")]


def test_reads_between_and_during_writes_are_fine() -> None:
    reads = [Operation(1, 2, "a"), Operation(2.5, 2.6, "a"), Operation(2.7, 2.8, "b"), Operation(6, 7, "c")]
    assert violations(order=ORDER, writes=WRITES, reads=reads) == []


def test_a_stale_read_is_found() -> None:
    assert violations(order=ORDER, writes=WRITES, reads=[Operation(3.5, 3.6, "a")])


def test_a_read_from_the_future_is_found() -> None:
    assert violations(order=ORDER, writes=WRITES, reads=[Operation(1, 1.5, "b")])


def test_a_read_that_goes_back_is_found() -> None:
    reads = [Operation(2.1, 2.2, "b"), Operation(2.3, 2.4, "a")]
    assert violations(order=ORDER, writes=WRITES, reads=reads)


def test_an_acknowledged_write_that_never_was_is_found() -> None:
    assert violations(order=["a", "c"], writes=WRITES, reads=[])


def test_an_order_against_the_clock_is_found() -> None:
    assert violations(order=["b", "a", "c"], writes=WRITES, reads=[])


def test_a_tag_that_is_deleted_and_made_again_is_fine() -> None:
    order = ["a", f"{GONE}#1", "b", f"{GONE}#2"]
    writes = [Operation(0, 1, "a"), Operation(2, 3, f"{GONE}#1"), Operation(4, 5, "b"), Operation(6, 7, f"{GONE}#2")]
    reads = [Operation(2.5, 2.6, "a"), Operation(2.7, 2.8, GONE), Operation(5, 5.5, "b"), Operation(8, 9, GONE)]
    assert violations(order=order, writes=writes, reads=reads) == []
    assert violations(order=order, writes=writes, reads=[Operation(5.5, 5.6, GONE)])
    assert violations(order=order, writes=writes, reads=[Operation(3.5, 3.6, "a")])


def test_how_long_a_read_was_behind_is_told() -> None:
    reads = [Operation(3.25, 3.5, "a"), Operation(3.25, 3.5, "b"), Operation(6, 7, "c")]
    assert staleness_s(order=ORDER, writes=WRITES, reads=reads) == [0.25, 0, 0]
