"""The short run beside what docs/benchmarks.md records. It fails for a ratio that is twice as bad, and for no less: a
busy machine cannot repeat what a quiet one gave. Such a row is measured once more before it fails.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.benchmarks.bench import Bench, RowResult
from tests.benchmarks.report import named, table
from tests.benchmarks.rows.base import Goal, Row


@dataclass(frozen=True)
class Compared:
    """A ratio with a goal: what is recorded (None: nothing), and what was measured, once or twice."""

    row: str
    goal: Goal
    recorded: float | None
    measured: tuple[float, ...]

    @property
    def bound(self) -> float | None:
        """Half of what is recorded; double where less is better."""
        if self.recorded is None:
            return None
        return self.recorded / 2 if self.goal.least is not None else self.recorded * 2

    @property
    def has_fallen(self) -> bool:
        """Whether it was beyond the bound each time."""
        return all(self._is_beyond(ratio) for ratio in self.measured)

    def _is_beyond(self, ratio: float) -> bool:
        if self.bound is None:
            return False
        return ratio < self.bound if self.goal.least is not None else ratio > self.bound

    def __str__(self) -> str:
        side = "below" if self.goal.least is not None else "above"
        return (
            f"{self.row} beside {named(self.goal.against)}: recorded {_shown(self.recorded)},"
            f" measured {' and '.join(map(_shown, self.measured))}, fails {side} {_shown(self.bound)};"
            f" alone: make bench BENCH=--short ONLY={self.row}"
        )


class Comparison:
    """Measures rows beside what is `recorded`, by row and by name of whom it is beside; `str` is a table of all."""

    def __init__(self, recorded: Mapping[tuple[str, str], float]) -> None:
        self._recorded = recorded
        self.all: list[Compared] = []

    def measure(self, bench: Bench, row: Row) -> RowResult:
        """Measure a row, and once more when one of its ratios has fallen. All samples come back as one result."""
        tries = [bench.measure(row)]
        if any(one.has_fallen for one in self._compared(row, tries)):
            tries.append(bench.measure(row))
        self.all += self._compared(row, tries)
        samples = {who: [sample for result in tries for sample in result.samples[who]] for who in tries[0].samples}
        return RowResult(row, samples)

    @property
    def fallen(self) -> list[str]:
        """What makes the run fail, in words."""
        return [str(one) for one in self.all if one.has_fallen]

    def _compared(self, row: Row, tries: Sequence[RowResult]) -> list[Compared]:
        goals = [(goal, goal.against) for goal in row.goals if goal.against is not None and row.is_comparable]
        return [
            Compared(
                row.name,
                goal,
                self._recorded.get((row.name, named(against))),
                tuple(result.ratio(against) for result in tries),
            )
            for goal, against in goals
        ]

    def __str__(self) -> str:
        lines = [
            [
                f"`{one.row}`",
                named(one.goal.against),
                _shown(one.recorded),
                ", ".join(map(_shown, one.measured)),
                "not recorded" if one.recorded is None else "**no**" if one.has_fallen else "yes",
            ]
            for one in self.all
        ]
        return table(["row", "beside", "recorded", "measured", "holds"], lines)


def _shown(ratio: float | None) -> str:
    return "—" if ratio is None else f"{ratio:.2f}"
