"""The short run fails when a ratio is twice as bad as the recorded one, and still is when it is measured once more."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.benchmarks.bench import RowResult
from tests.benchmarks.compared import Comparison
from tests.benchmarks.rows import ROWS, SHORT_ROWS
from tests.benchmarks.rows.base import Row, Sample
from tests.benchmarks.scale import SHORT

V3 = "distribution v3"
NAMED = {row.name: row for row in ROWS}


class _Bench:
    """Gives what it is told to, in turn."""

    def __init__(self, *tries: Mapping[str, float], errors: int = 0) -> None:
        self.left = list(tries)
        self._errors = errors

    def measure(self, row: Row) -> RowResult:
        values = self.left.pop(0)
        return RowResult(row, {who: [Sample(value, 1, self._errors)] for who, value in values.items()})


def _measured(comparison: Comparison, row: str, *tries: Mapping[str, float], errors: int = 0) -> RowResult:
    bench: Any = _Bench(*tries, errors=errors)
    result = comparison.measure(bench, NAMED[row])
    assert bench.left == [], "measured too seldom"
    return result


def test_half_of_what_is_recorded_is_enough() -> None:
    comparison = Comparison({("blob-64k", V3): 8.0})
    _measured(comparison, "blob-64k", {"portolan": 41, "v3": 10, "nginx": 500})
    assert comparison.fallen == []
    assert f"| `blob-64k` | {V3} | 8.00 | 4.10 | yes |" in str(comparison)


def test_a_ratio_that_fell_is_measured_once_more_and_holds_when_it_was_noise() -> None:
    comparison = Comparison({("blob-64k", V3): 8.0})
    result = _measured(comparison, "blob-64k", {"portolan": 10, "v3": 10}, {"portolan": 90, "v3": 10})
    assert comparison.fallen == []
    assert [sample.value for sample in result.samples["portolan"]] == [10, 90]
    assert f"| `blob-64k` | {V3} | 8.00 | 1.00, 9.00 | yes |" in str(comparison)


def test_a_ratio_that_fell_twice_is_told_with_all_that_one_needs_to_look_into_it() -> None:
    comparison = Comparison({("blob-64k", V3): 8.0})
    _measured(comparison, "blob-64k", {"portolan": 10, "v3": 10}, {"portolan": 39, "v3": 10})
    assert comparison.fallen == [
        "blob-64k beside distribution v3: recorded 8.00, measured 1.00 and 3.90, fails below 4.00;"
        " alone: make bench BENCH=--short ONLY=blob-64k"
    ]
    assert f"| `blob-64k` | {V3} | 8.00 | 1.00, 3.90 | **no** |" in str(comparison)


def test_a_row_fails_for_the_same_ratio_twice_and_not_for_one_and_then_the_other() -> None:
    comparison = Comparison({("blob-range-1m", V3): 4.0, ("blob-range-1m", "nginx"): 1.0})
    first, second = {"portolan": 10, "v3": 10, "nginx": 10}, {"portolan": 30, "v3": 10, "nginx": 90}
    _measured(comparison, "blob-range-1m", first, second)
    assert comparison.fallen == []


def test_memory_falls_when_it_doubles() -> None:
    comparison = Comparison({("memory-idle", V3): 6.0})
    _measured(comparison, "memory-idle", {"portolan": 10, "v3": 10})
    _measured(comparison, "memory-idle", {"portolan": 119, "v3": 10})
    assert comparison.fallen == []
    _measured(comparison, "memory-idle", {"portolan": 121, "v3": 10}, {"portolan": 130, "v3": 10})
    assert [line.partition(";")[0] for line in comparison.fallen] == [
        "memory-idle beside distribution v3: recorded 6.00, measured 12.10 and 13.00, fails above 12.00"
    ]


def test_a_ratio_that_is_not_recorded_is_told_and_does_not_fail() -> None:
    comparison = Comparison({("blob-64k", V3): 8.0})
    _measured(comparison, "push-small-8", {"portolan": 1, "v3": 1000})
    assert comparison.fallen == []
    assert f"| `push-small-8` | {V3} | — | 0.00 | not recorded |" in str(comparison)


def test_errors_of_both_times_count() -> None:
    comparison = Comparison({("blob-64k", V3): 8.0})
    result = _measured(comparison, "blob-64k", {"portolan": 1, "v3": 1}, {"portolan": 9, "v3": 1}, errors=1)
    assert result.errors == 4


def test_a_row_that_the_short_run_cannot_compare_is_left_out() -> None:
    comparison = Comparison({("tags-100k", V3): 200.0})
    _measured(comparison, "tags-100k", {"portolan": 30, "v3": 1})
    assert comparison.fallen == []
    assert comparison.all == []


@pytest.mark.parametrize("name", SHORT_ROWS)
def test_what_the_short_run_measures_can_be_compared(name: str) -> None:
    row = NAMED[name]
    assert row.is_comparable
    assert any(goal.against not in {None, *SHORT.left_out} for goal in row.goals)
