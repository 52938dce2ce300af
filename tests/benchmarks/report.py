"""What comes of a run: JSON with every sample, the tables of docs/benchmarks.md, and that page read again."""

import dataclasses
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from tests.benchmarks.bench import RowResult
from tests.benchmarks.rows.base import Sample

BUSY_SHARE = 0.05
FLOOR = "## Where the time goes"
_NAMES = {
    "portolan": "Portolan",
    "v3": "distribution v3",
    "debian": "docker-registry 2.8.2",
    "disk": "sha256sum, cp, sync",
}
_CONDITIONS = """\
`make bench` writes this page; `make bench ONLY=row1,row2` measures single rows and leaves it alone. CI measures some
rows for seconds (`make bench BENCH=--short`) and fails when a ratio with a goal is below half of what this page says.

- Everything runs at once on one machine. Each server is started fresh on local disk and filled with the same content;
  every row is measured in turns (Portolan, distribution, …, then again, six times and more). A figure is the median of
  the turns, a ratio the median of the turns' ratios; docker-registry has one turn.
- **Portolan runs as it ships** (`portolan up`): bearer tokens checked on every request and fetched for every new
  repository, access log to a file, 2 workers, embedded Postgres and Valkey, every blob and its folder flushed to disk
  before it is acknowledged, pulls counted. **The others run as they ship, with less to do**: access log to a file, no
  authentication, no pull counts, no database; distribution flushes a blob's file but not its folder.
- The load comes from wrk and from `tests/benchmarks/loadgen`, both held to the last core, for every server the same.
- CPU is that of all processes of a server, for each request or image; Portolan's contains Postgres, which is also shown
  alone. Every row had 0 errors, or the run would have failed; content is compared by digest when it is filled in.
- "Other work" is what processes took that are none of the bench's, and the host for other machines. The servers stay
  started while another is measured (two Portolans at rest take some 3% of two cores), and the kernel writes back what
  was pushed: both have figures of their own in the JSON of a run.
"""


def write_json(path: Path, results: Sequence[RowResult], about: Mapping[str, object]) -> None:
    """All samples, and what they were measured on."""
    rows = {
        result.row.name: {
            "unit": result.row.unit,
            "samples": {
                who: [dataclasses.asdict(sample) for sample in samples] for who, samples in result.samples.items()
            },
            "medians": {who: result.median(who) for who in result.samples},
        }
        for result in results
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode({**about, "rows": rows}), indent=1) + b"\n")


def page(
    runs: Sequence[Sequence[RowResult]], *, about: Mapping[str, Mapping[str, str]], pulls: str, before: str = ""
) -> str:
    """docs/benchmarks.md. `before`: the page as it was, whose part that people write (from `FLOOR` on) is kept."""
    _, floor, explained = before.partition(FLOOR)
    parts = [
        "# Benchmarks\n",
        _provisional(runs),
        _CONDITIONS,
        "## Ratios\n",
        ratios(runs),
        "## Latency and processor\n",
        costs(worst(runs)),
        f"Pulls counted: {pulls}.\n",
        "## Machine and versions\n",
        table(["what", "which"], [row for facts in about.values() for row in facts.items()]),
        "## Rows\n",
        table(["row", "what"], [(f"`{result.row.name}`", result.row.what) for result in runs[0]]),
        floor + explained,
    ]
    return "\n".join(part for part in parts if part)


def ratios(runs: Sequence[Sequence[RowResult]]) -> str:
    """A line for each pair of Portolan and another, from that run in which their ratio was the worst."""
    head = ["row", "unit", "Portolan", "beside", "its figure", "ratio", "wanted", "met"]
    return table(head, [line for results in zip(*runs, strict=True) for line in _ratio_lines(results)])


def recorded(text: str) -> dict[tuple[str, str], float]:
    """The ratios that a page holds, by row and whom it is beside."""
    section = text.partition("## Ratios")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| `([\w-]+)` \|[^|]*\|[^|]*\| ([^|]*?) \|[^|]*\| ([0-9.,]+) \|", section, re.MULTILINE)
    return {(row, beside): float(ratio.replace(",", "")) for row, beside, ratio in lines}


def _ratio_lines(results: Sequence[RowResult]) -> list[list[str]]:
    row, own, goals = results[0].row, results[0].own, {goal.against: goal for goal in results[0].row.goals}
    lines = []
    if None in goals:
        goal, median = goals[None], _worst(results, None).median(own)
        lines.append([*_first(results, None), "—", "—", "—", f"{goal} {row.unit}", _met(goal.is_met(median))])
    for who in [who for who in results[0].samples if who != own and (who in goals or ":" not in who)]:
        result, beside_goal = _worst(results, who), goals.get(who)
        ratio = result.ratio(who)
        wanted = ["—", "—"] if beside_goal is None else [str(beside_goal), _met(beside_goal.is_met(ratio))]
        lines.append([*_first(results, who), named(who), f"{result.median(who):,.1f}", f"{ratio:.2f}", *wanted])
    return lines or [[*_first(results, None), "—", "—", "—", "—", "—"]]


def _first(results: Sequence[RowResult], against: str | None) -> list[str]:
    result = _worst(results, against)
    return [f"`{result.row.name}`", result.row.unit, f"{result.median(result.own):,.1f}"]


def _worst(results: Sequence[RowResult], against: str | None) -> RowResult:
    """Of one row's results, that with the worst ratio to `against` (None: the worst figure)."""
    is_less_better = any(goal.most is not None for goal in results[0].row.goals)
    choose = max if is_less_better else min
    return choose(results, key=lambda result: result.ratio(against) if against else result.median(result.own))


def costs(results: Sequence[RowResult]) -> str:
    """A line for everyone who was measured: spread, latency, processor."""
    head = ["row", "who", "median", "least to most", "p50 ms", "p99 ms", "CPU ms each", "of it Postgres", "more"]
    lines = [_cost_line(result, who) for result in results for who in result.samples]
    return table(head, lines)


def _cost_line(result: RowResult, who: str) -> list[str]:
    samples = result.samples[who]
    values = [sample.value for sample in samples]
    cpu, postgres = (_each_ms(samples, name) for name in ("cpu_s", "postgres_cpu_s"))
    spread = f"{min(values):,.1f} to {max(values):,.1f}"
    latency = [
        f"{statistics.median(getattr(sample, name) for sample in samples):,.2f}" for name in ("p50_ms", "p99_ms")
    ]
    more = ", ".join(f"{name} {_median_note(samples, name):,.1f}" for name in samples[0].notes)
    return [
        f"`{result.row.name}`",
        named(who),
        f"{result.median(who):,.1f}",
        spread,
        *latency,
        cpu,
        postgres,
        more or "—",
    ]


def _median_note(samples: Sequence[Sample], name: str) -> float:
    return statistics.median(sample.notes[name] for sample in samples)


def _each_ms(samples: Sequence[Sample], name: str) -> str:
    done = sum(sample.done for sample in samples)
    return f"{sum(getattr(sample, name) for sample in samples) * 1000 / done:,.3f}" if done else "—"


def worst(runs: Sequence[Sequence[RowResult]]) -> list[RowResult]:
    """Of several runs, each row as it was in that run in which its goals were reached least."""
    return [min(results, key=lambda result: result.standing) for results in zip(*runs, strict=True)]


def _provisional(runs: Sequence[Sequence[RowResult]]) -> str:
    rows = [results[0].row.name for results in zip(*runs, strict=True) if any(map(_is_busy, results))]
    if not rows:
        return ""
    return (
        f"**Provisional:** other work took more than {BUSY_SHARE:.0%} of the machine during"
        f" {len(rows)} of {len(runs[0])} rows ({', '.join(rows)}).\n"
    )


def _is_busy(result: RowResult) -> bool:
    return result.other_share > BUSY_SHARE


def named(who: str | None) -> str:
    """A contestant's name in the tables."""
    name, colon, variant = (who or "").partition(":")
    return _NAMES.get(name, name) + (f", {variant}" if colon else "")


def _met(is_met: bool) -> str:
    return "yes" if is_met else "**no**"


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
