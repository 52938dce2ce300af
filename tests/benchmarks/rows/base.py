"""What a row of the table is: who is measured, on which content, how, and what is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tests.benchmarks.loads import Load, wrk
from tests.benchmarks.measuring import Cpu
from tests.benchmarks.scale import MIB, MOST_ROUNDS

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench

ACCEPT = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
REGISTRIES = ("portolan", "v3", "debian")
# Where much must be filled in first: no goal is about the third, and a run takes long enough.
GOAL_REGISTRIES = ("portolan", "v3")
EVERYONE = (*REGISTRIES, "nginx")


@dataclass(frozen=True)
class Goal:
    """What is wanted of Portolan's value: through that of `against` (None: of itself), at least or at most so much."""

    against: str | None
    least: float | None = None
    most: float | None = None

    def is_met(self, figure: float) -> bool:
        return (self.least is None or figure >= self.least) and (self.most is None or figure <= self.most)

    def reached(self, figure: float) -> float:
        """How far it is reached: 1 just so, 2 twice over."""
        if self.least is not None:
            return figure / self.least
        return (self.most or 0) / figure if figure else float("inf")

    def __str__(self) -> str:
        return f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"


@dataclass(frozen=True)
class Sample:
    """One measurement. `value` is in the row's unit; the shares are those of `Cpu`; `notes` are what else is worth
    telling."""

    value: float
    done: int = 0
    errors: int = 0
    reasons: tuple[str, ...] = ()
    p50_ms: float = 0
    p99_ms: float = 0
    cpu_s: float = 0
    postgres_cpu_s: float = 0
    resting_share: float = 0
    kernel_share: float = 0
    other_share: float = 0
    bytes: int = 0
    elapsed_s: float = 0
    notes: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, load: Load, cpu: Cpu) -> Sample:
        """From a load, with operations per second as its value."""
        return cls(
            value=load.done / load.elapsed_s if load.elapsed_s else 0,
            done=load.done,
            errors=load.errors,
            reasons=tuple(load.reasons) if load.errors else (),
            p50_ms=load.p50_ms,
            p99_ms=load.p99_ms,
            cpu_s=cpu.server_s + cpu.postgres_s,
            postgres_cpu_s=cpu.postgres_s,
            resting_share=cpu.resting_share,
            kernel_share=cpu.kernel_share,
            other_share=cpu.other_share,
            bytes=load.bytes,
            elapsed_s=load.elapsed_s,
        )

    @property
    def mib_per_s(self) -> float:
        return self.bytes / MIB / self.elapsed_s


class Row(Protocol):
    """One row. `who`: contestants, `contestant:variant`, or names that only the row knows. `is_comparable`: whether the
    short run's ratio may be compared with that of the whole run. `most_rounds`: in how many turns it is measured at the
    most."""

    @property
    def name(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def who(self) -> tuple[str, ...]: ...
    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def goals(self) -> tuple[Goal, ...]: ...
    @property
    def is_comparable(self) -> bool: ...
    @property
    def most_rounds(self) -> int: ...

    def measure(self, bench: Bench, who: str) -> Sample:
        """Measure `who` once."""


@dataclass(frozen=True)
class WrkRow:
    """One path, asked for by wrk again and again. `path` and `arguments` may need what filling found out."""

    name: str
    what: str
    needs: tuple[str, ...]
    path: Callable[[Bench, str], str]
    scope: str
    connections: int
    goals: tuple[Goal, ...] = ()
    who: tuple[str, ...] = REGISTRIES
    unit: str = "requests/s"
    is_pull: bool = False
    is_comparable: bool = True
    most_rounds: int = MOST_ROUNDS
    script: str = "hot.lua"
    arguments: Callable[[Bench], list[str]] = lambda _: []

    def measure(self, bench: Bench, who: str) -> Sample:
        contestant = bench.on(who)
        headers = {**ACCEPT, **contestant.headers(self.scope)}
        sample = bench.load(
            who,
            lambda: wrk(
                contestant.url + self.path(bench, who),
                connections=self.connections,
                seconds=bench.scale.seconds,
                headers=headers,
                script=self.script,
                arguments=self.arguments(bench),
            ),
            counted=int(self.is_pull),
        )
        return with_value(sample, sample.mib_per_s) if self.unit == "MiB/s" else sample


def with_value(sample: Sample, value: float, **notes: float) -> Sample:
    """The sample with another value, and notes."""
    changed = {**sample.__dict__, "value": value, "notes": {**sample.notes, **notes}}
    return Sample(**changed)
