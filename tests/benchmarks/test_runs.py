"""What a run measured is on disk at once, and is not measured again when the run is carried on."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import machine
from tests.benchmarks.__main__ import refuse_unfit
from tests.benchmarks.bench import PullCountWrong, RowResult
from tests.benchmarks.rows import ROWS
from tests.benchmarks.rows.base import Row, Sample
from tests.benchmarks.runs import Run, Unfit, carry_on, keeper, read

ABOUT = {"machine": {"processor": "one"}, "versions": {"Portolan": "1 (abc)"}, "is_short": False}
THREE = [row for row in ROWS if row.name in {"blob-64k", "blob-64m", "token-robot"}]


class _Bench:
    """Remembers what it started servers for, and measures nothing."""

    def __init__(self, *, is_counted_right: bool = True) -> None:
        self.contestants = {"portolan": object()}
        self.filled: list[str] = []
        self._is_counted_right = is_counted_right

    @contextlib.contextmanager
    def running(self, _rows: Sequence[Row]) -> Iterator[None]:
        yield

    def fill(self, rows: Sequence[Row]) -> None:
        self.filled = [row.name for row in rows]

    def check_pulls(self) -> tuple[int, int, int]:
        if not self._is_counted_right:
            raise PullCountWrong("9 pulls were counted, but 10 to 11 were made")
        return 1000, 999, 1001


def _result(row: Row, *, errors: int = 0) -> RowResult:
    return RowResult(row, {who: [Sample(5.0, 1, errors, ("no answer",), notes={"rss": 1.0})] for who in row.who})


def _carry_on(
    run: Run, path: Path, *, fails_at: str = "", errors_at: str = "", is_counted_right: bool = True
) -> _Bench:
    bench: Any = _Bench(is_counted_right=is_counted_right)

    def measure(_bench: object, row: Row) -> RowResult:
        if row.name == fails_at:
            raise OSError("no space left on device")
        return _result(row, errors=int(row.name == errors_at))

    carry_on(run, THREE, bench, measure=measure, keep=keeper(path, ABOUT))
    return bench  # type: ignore[no-any-return]


def test_rows_outlive_a_run_that_dies_and_only_the_missing_ones_are_measured_after(tmp_path: Path) -> None:
    died = tmp_path / "died.json"
    with pytest.raises(OSError, match="no space"):
        _carry_on(Run(), died, fails_at="blob-64m")
    run = read(died, THREE, ABOUT)
    assert run.results == [_result(THREE[0])]
    bench = _carry_on(run, tmp_path / "whole.json")
    assert bench.filled == ["blob-64m", "token-robot"]
    assert [result.row.name for result in run.results] == ["blob-64k", "blob-64m", "token-robot"]
    assert run.pulls == "1,000 (sent: 999 to 1,001), without 1 rows measured before"
    assert read(tmp_path / "whole.json", THREE, ABOUT) == run


def test_a_row_with_errors_is_measured_again(tmp_path: Path) -> None:
    run = Run()
    _carry_on(run, tmp_path / "run.json", errors_at="blob-64k")
    assert run.trouble == [f"blob-64k: {len(THREE[0].who)} errors"]
    again = read(tmp_path / "run.json", THREE, ABOUT)
    assert _carry_on(again, tmp_path / "again.json").filled == ["blob-64k"]
    assert again.trouble == []
    assert [result.row.name for result in again.results] == [row.name for row in THREE]


def test_wrong_pull_counts_are_trouble_and_no_part_of_another_run(tmp_path: Path) -> None:
    run = Run()
    _carry_on(run, tmp_path / "run.json", is_counted_right=False)
    assert run.trouble == ["9 pulls were counted, but 10 to 11 were made"]
    with pytest.raises(Unfit, match="9 pulls were counted"):
        read(tmp_path / "run.json", THREE, ABOUT)


def test_another_version_is_no_part_of_a_run(tmp_path: Path) -> None:
    _carry_on(Run(), tmp_path / "run.json")
    with pytest.raises(Unfit, match="not measured on the same versions"):
        read(tmp_path / "run.json", THREE, {**ABOUT, "versions": {"Portolan": "1 (def)"}})
    with pytest.raises(Unfit, match=r"none\.json"):
        read(tmp_path / "none.json", THREE, ABOUT)


def test_a_run_does_not_begin_where_it_would_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "filesystem", lambda _folder: "ext4")
    refuse_unfit(tmp_path, 1)
    with pytest.raises(Unfit, match="GiB free, a run of all rows needs"):
        refuse_unfit(tmp_path, 1 << 60)
