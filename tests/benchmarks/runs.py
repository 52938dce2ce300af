"""One run: all its rows, written down as they come, so that what it measured outlives a run that does not end well.

A run that was begun before is carried on from what it wrote down: only the rows that are missing are measured.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tests.benchmarks import report
from tests.benchmarks.bench import Bench, PullCountWrong, RowResult
from tests.benchmarks.rows.base import Row, Sample


class Unfit(Exception):
    """What was written down cannot be a part of this run; the message says why."""


@dataclass
class Run:
    """What one run gave: its rows, and what it says of the pulls; `wrong` when they were not all counted."""

    results: list[RowResult] = field(default_factory=list)
    pulls: str = "not looked at"
    wrong: str = ""

    @property
    def trouble(self) -> list[str]:
        """What a run must not have, in words."""
        errors = [f"{result.row.name}: {result.errors} errors" for result in self.results if result.errors]
        return [*errors, self.wrong] if self.wrong else errors


def read(path: Path, rows: Sequence[Row], about: Mapping[str, object]) -> Run:
    """What a run that was kept in `path` has of `rows`, without errors. Raises Unfit when it measured something else
    than this one would: other versions, another machine, another length."""
    try:
        kept: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise Unfit(f"{path}: {error}") from error
    if differing := [name for name, value in about.items() if kept.get(name) != value]:
        raise Unfit(f"{path} was not measured on the same {', '.join(differing)}")
    if kept["wrong"]:
        raise Unfit(f"{path}: {kept['wrong']}")
    samples = {name: msgspec.convert(row["samples"], dict[str, list[Sample]]) for name, row in kept["rows"].items()}
    found = [RowResult(row, samples[row.name]) for row in rows if row.name in samples]
    return Run([result for result in found if not result.errors], kept["pulls"])


def carry_on(
    run: Run,
    rows: Sequence[Row],
    bench: Bench,
    *,
    measure: Callable[[Bench, Row], RowResult],
    keep: Callable[[Run], None],
) -> None:
    """Measure those of `rows` that `run` does not have; `keep` it after each, and at the end."""
    had = {result.row.name for result in run.results}
    missing = [row for row in rows if row.name not in had]
    with bench.running(missing):
        bench.fill(missing)
        for row in missing:
            run.results.append(measure(bench, row))
            keep(run)
        _count_pulls(run, bench, without=len(had))
    run.results.sort(key=lambda result: rows.index(result.row))
    keep(run)


def _count_pulls(run: Run, bench: Bench, *, without: int) -> None:
    if "portolan" not in bench.contestants:
        return
    try:
        counted = "{:,} (sent: {:,} to {:,})".format(*bench.check_pulls())
        run.pulls = f"{counted}, without {without} rows measured before" if without else counted
    except PullCountWrong as error:
        run.wrong = str(error)


def keeper(path: Path, about: Mapping[str, object]) -> Callable[[Run], None]:
    """What keeps a run in `path`, as JSON with every sample."""
    return lambda run: report.write_json(path, run.results, {**about, "pulls": run.pulls, "wrong": run.wrong})
