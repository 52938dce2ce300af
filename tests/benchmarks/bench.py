"""The run: start the servers, fill them, measure every row in turns, and look at the pull counts."""

import contextlib
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.contents import Contents
from tests.benchmarks.contestants import KINDS, Contestant, Portolan
from tests.benchmarks.loads import Load
from tests.benchmarks.measuring import CpuMeter
from tests.benchmarks.rows.base import Row, Sample
from tests.benchmarks.scale import Scale
from tests.support.waiting import wait_until

_COUNTED_WITHIN_S = 30


@dataclass
class RowResult:
    """All samples of one row, by who was measured."""

    row: Row
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def median(self, who: str) -> float:
        """The median of the row's value."""
        return statistics.median(sample.value for sample in self.samples[who])

    @property
    def own(self) -> str:
        """Portolan's name in this row."""
        return self.row.who[0]

    def ratio(self, against: str) -> float:
        """Portolan through `against`: the median of what each turn gives, for the machine is faster in one minute than
        in the next; of the medians, where `against` was not measured in every turn."""
        own, other = self.samples[self.own], self.samples[against]
        if len(own) == len(other):
            return statistics.median(_through(a.value, b.value) for a, b in zip(own, other, strict=True))
        return _through(self.median(self.own), self.median(against))

    @property
    def standing(self) -> float:
        """How far the row's goals are reached, at the worst (1: just so); without goals, the median."""
        figures = [
            (goal, self.ratio(goal.against) if goal.against else self.median(self.own)) for goal in self.row.goals
        ]
        return min((goal.reached(figure) for goal, figure in figures), default=self.median(self.own))

    @property
    def errors(self) -> int:
        return sum(sample.errors for samples in self.samples.values() for sample in samples)

    @property
    def other_share(self) -> float:
        """How busy other work kept the machine meanwhile, at the worst."""
        return max(sample.other_share for samples in self.samples.values() for sample in samples)


def _through(own: float, other: float) -> float:
    """`own` through `other`, which may have come to nothing on a busy machine."""
    return own / other if other else math.inf if own else 0.0


class PullCountWrong(Exception):
    """The registry counted other pulls than were made."""


class Bench:
    """What the rows are measured with."""

    def __init__(self, work: Path, scale: Scale, say: Callable[[str], None]) -> None:
        self.work = work
        self.scale = scale
        self.contents = Contents(work, scale)
        self.contestants: dict[str, Contestant] = {}
        self._say = say
        self._seeds = itertools.count(1000)
        self._pulls_least = self._pulls_most = 0

    @contextlib.contextmanager
    def running(self, rows: Sequence[Row]) -> Iterator[None]:
        """Start the contestants of the rows; they are ended with the block."""
        names = dict.fromkeys(kind(who) for row in rows for who in self._who(row) if kind(who))
        try:
            for name in names:
                self._say(f"start {name}")
                self.contestants[name] = KINDS[name](self.work)
                self.contestants[name].start()
            yield
        finally:
            for name, contestant in self.contestants.items():
                contestant.stop()
                self._say(f"stopped {name}")

    def fill(self, rows: Sequence[Row]) -> None:
        """Fill every registry with what the rows need of it."""
        wanted = {(kind(who), part) for row in rows for who in self._who(row) for part in row.needs}
        for name, part in sorted(wanted, key=lambda pair: (pair[1], pair[0])):
            if name not in {"", "nginx"}:
                started_s = time.monotonic()
                self.contents.fill(self.contestants[name], part)
                self._say(f"fill {name} with {part}: {time.monotonic() - started_s:.1f} s")
        for contestant in self.contestants.values():
            contestant.settle()
        filled = self.contents.pulls.get("portolan", 0)
        self._pulls_least, self._pulls_most = self._pulls_least + filled, self._pulls_most + filled

    def measure(self, row: Row) -> RowResult:
        """Measure a row: everyone in turn, then again, and again while the loads were short."""
        result = RowResult(row, {who: [] for who in self._who(row)})
        for number in range(row.most_rounds):
            if number >= self.scale.rounds and self._is_long(result):
                break
            for who in result.samples:
                if number > 0 and kind(who) in self.scale.once:
                    continue
                sample = row.measure(self, who)
                result.samples[who].append(sample)
                self._say(f"{row.name}: {who} {sample.value:,.1f} {row.unit}{_trouble(sample)}")
        return result

    def _is_long(self, result: RowResult) -> bool:
        """Whether each was measured as long as one whose loads last as long as they are told to."""
        lengths_s = [
            sum(sample.elapsed_s for sample in samples)
            for who, samples in result.samples.items()
            if kind(who) not in self.scale.once
        ]
        return min(lengths_s) >= self.scale.rounds * self.scale.seconds

    def on(self, who: str) -> Contestant:
        """The contestant behind a name such as `portolan` or `portolan:quiet`."""
        return self.contestants[kind(who)]

    @contextlib.contextmanager
    def without_twins(self, who: str) -> Iterator[None]:
        """While the block runs, no other server runs the program of `who`: of what two of them share in memory each
        counts half."""
        own = self.on(who)
        twins = [other for other in self.contestants.values() if other is not own and isinstance(other, type(own))]
        for twin in twins:
            twin.stop()
        try:
            yield
        finally:
            for twin in twins:
                twin.start()
                twin.settle()

    def load(self, who: str, work: Callable[[], Load], *, counted: int = 0) -> Sample:
        """Do `work` and see what it costs `who`. `counted`: pulls that each of its operations is."""
        measured = self.contestants.get(kind(who))
        resting = [contestant.root for contestant in self.contestants.values() if contestant is not measured]
        meter = CpuMeter(measured.root if measured else None, resting)
        load = work()
        cpu = meter.stop()
        if kind(who) == "portolan":
            self._pulls_least += counted * load.done
            self._pulls_most += counted * (load.done + load.cut)
        return Sample.of(load, cpu)

    def seed(self) -> str:
        """What content is made from that no registry has yet."""
        return str(next(self._seeds))

    def _who(self, row: Row) -> list[str]:
        return [who for who in row.who if kind(who) not in self.scale.left_out]

    def check_pulls(self) -> tuple[int, int, int]:
        """Compare the pull count with the GETs sent: counted, and the least and the most that it may be (a request that
        was under way when its load ended may count). Raises PullCountWrong."""
        portolan = self.contestants["portolan"]
        assert isinstance(portolan, Portolan)
        least, most = self._pulls_least, self._pulls_most
        with contextlib.suppress(TimeoutError):
            what = "the pulls are counted"
            wait_until(lambda: portolan.pull_count() >= least, what=what, within_s=_COUNTED_WITHIN_S)
        counted = portolan.pull_count()
        if not least <= counted <= most:
            raise PullCountWrong(f"{counted} pulls were counted, but {least} to {most} were made")
        return counted, least, most


def kind(who: str) -> str:
    """The contestant of `who`: `portolan:quiet` is portolan, `portolan:s3` one of its own, `disk` is none: empty."""
    name = who if who in KINDS else who.partition(":")[0]
    return name if name in KINDS else ""


def _trouble(sample: Sample) -> str:
    busy = f", other work took {sample.other_share:.0%} of the machine" if sample.other_share > 0.05 else ""
    return busy + (f", {sample.errors} ERRORS: {'; '.join(sample.reasons)}" if sample.errors else "")
