"""docs/benchmarks-scale.md: what a small and a large registry were measured to do, side by side."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.benchmarks.rest_lists import CLIENTS, DEEPEST, PAGE_SIZE, ListTimes
from tests.benchmarks.scale import MIB, DataSet

SLOWER_MOST, DEEPER_MOST, START_WITHIN_S = 1.3, 3.0, 10.0
DEPTHS = (0.0, 0.25, 0.5, 0.75, 0.99)
_LESS_IS_BETTER = {"MiB", "ms"}
_ABOUT = """\
# Scale

`python -m tests.benchmarks.on_scale` writes this page: two registries as they ship, one with little and one with much
in it, each row of the bench measured on both in turns. The data comes from `python -m tests.benchmarks.scale`, which
writes the rows that pushing it would have left.
"""


@dataclass(frozen=True)
class Compared:
    """One figure on the small and on the large data set. `slower`: how many times worse the large one is."""

    name: str
    unit: str
    small: float
    large: float

    @property
    def slower(self) -> float:
        worse, better = (self.large, self.small) if self.unit in _LESS_IS_BETTER else (self.small, self.large)
        return worse / better if better else float("inf")


@dataclass(frozen=True)
class Sizes:
    """What a data set takes in the database, indexes included."""

    artifact_bytes: float
    tag_bytes: float
    total_bytes: int


@dataclass(frozen=True)
class Measured:
    """Everything that was measured; the dictionaries are by the set's name. `pages`: milliseconds at each depth, by
    list."""

    sets: Sequence[DataSet]
    rows: Sequence[Compared]
    pages: Mapping[str, Mapping[str, Sequence[float]]]
    rest: Mapping[str, Sequence[ListTimes]]
    starts_s: Mapping[str, float]
    sizes: Mapping[str, Sizes]

    @property
    def is_well(self) -> bool:
        """Whether nothing is slower than it may be."""
        lists = [depths for of_set in self.pages.values() for depths in of_set.values()]
        return (
            all(compared.slower <= SLOWER_MOST for compared in self.rows)
            and all(is_even(depths) for depths in lists)
            and all(times.is_met for of_set in self.rest.values() for times in of_set)
            and all(start_s <= START_WITHIN_S for start_s in self.starts_s.values())
        )


def is_even(depths_ms: Sequence[float]) -> bool:
    """Whether the deep pages of a list are hardly slower than its first."""
    return max(depths_ms) <= DEEPER_MOST * depths_ms[0]


def page(measured: Measured, about: Mapping[str, str]) -> str:
    """The page."""
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    parts = [
        _ABOUT,
        _table(["what", "which"], [*about.items(), ("measured on", today)]),
        _table(["set", "projects", "repositories", "artifacts", "tags"], map(_set_line, measured.sets)),
        f"## Rows of the bench: at most {SLOWER_MOST} times slower\n",
        _table(["row", "unit", *(s.name for s in measured.sets), "times slower", "met"], map(_row, measured.rows)),
        f"## Pages of 100 at any depth: at most {DEEPER_MOST:g} times the first, in milliseconds\n",
        "Those of `_catalog` are asked for again within the second for which they are remembered.\n",
        _table(["set", "list", *(f"{depth:.0%}" for depth in DEPTHS), "met"], _page_lines(measured)),
        f"## The REST API: {CLIENTS} clients, pages of {PAGE_SIZE} at random to row {DEEPEST:,}, in milliseconds\n",
        _table(["set", "list", "pages", "answers/s", "p50", "p95", "at most", "met"], _rest_lines(measured)),
        f"## Start (within {START_WITHIN_S:g} s) and size\n",
        _table(["set", "start", "database", "an artifact without its tags", "a tag and its history"], _lines(measured)),
    ]
    return "\n".join(parts)


def _set_line(s: DataSet) -> list[str]:
    repositories = s.projects * s.repositories
    artifacts = repositories * s.artifacts
    return [s.name, f"{s.projects:,}", f"{repositories:,}", f"{artifacts:,}", f"{artifacts * s.tags:,}"]


def _row(c: Compared) -> list[str]:
    return [
        f"`{c.name}`",
        c.unit,
        f"{c.small:,.1f}",
        f"{c.large:,.1f}",
        f"{c.slower:.2f}",
        _met(c.slower <= SLOWER_MOST),
    ]


def _page_lines(measured: Measured) -> Iterable[list[str]]:
    for name, lists in measured.pages.items():
        for what, depths in lists.items():
            yield [name, what, *(f"{taken_ms:.2f}" for taken_ms in depths), _met(is_even(depths))]


def _rest_lines(measured: Measured) -> Iterable[list[str]]:
    for name, lists in measured.rest.items():
        for times in lists:
            figures = [f"{times.per_s:,.0f}", f"{times.p50_ms:.1f}", f"{times.p95_ms:.1f}"]
            about = [name, times.asked.name, f"{times.asked.pages:,}"]
            yield [*about, *figures, f"{times.asked.within_ms:g}", _met(times.is_met)]


def _lines(measured: Measured) -> Iterable[list[str]]:
    for name, size in measured.sizes.items():
        sizes = [
            f"{size.total_bytes / MIB:,.0f} MiB",
            f"{size.artifact_bytes:,.0f} bytes",
            f"{size.tag_bytes:,.0f} bytes",
        ]
        yield [name, f"{measured.starts_s[name]:.1f} s", *sizes]


def _met(is_met: bool) -> str:
    return "yes" if is_met else "**no**"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
