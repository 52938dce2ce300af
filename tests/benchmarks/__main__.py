"""`python -m tests.benchmarks`: what `make bench` runs."""

import argparse
import datetime
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.benchmarks import machine, programs, report
from tests.benchmarks.bench import Bench, RowResult
from tests.benchmarks.compared import Comparison
from tests.benchmarks.rows import ROWS, SHORT_ROWS
from tests.benchmarks.rows.base import Row
from tests.benchmarks.runs import Run, Unfit, carry_on, keeper, read
from tests.benchmarks.scale import FULL, GIB, SHORT, Scale

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
LOCAL_DISK = Path("/var/tmp")  # a folder that the database's account may enter, and by convention no tmpfs
RESULTS = Path(__file__).parent / "results"
_STARTED_S = time.monotonic()


def main() -> int:
    """Exit code 0; 1: errors, wrong pull counts, or (short) a ratio below half of what is recorded; 2: wrong usage."""
    options = _options()
    scale = SHORT if options.short else FULL
    names = [name for name in options.only.split(",") if name] or list(SHORT_ROWS if options.short else [])
    rows = [row for row in _chosen(names) if row.who[0] not in scale.left_out]
    work = options.dir / f"portolan-bench-{os.getpid()}"
    try:
        programs.install_missing()
        work.mkdir(parents=True)
        if not scale.is_short:  # whose rows the disk does not bound: CI may have it where it likes
            refuse_unfit(work, 0 if names else scale.room_bytes)
        return _measure(rows, scale, work, options)
    except (programs.Missing, Unfit) as error:
        sys.exit(f"bench: {error}")
    finally:
        if not options.keep:
            shutil.rmtree(work, ignore_errors=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="Compare Portolan with other registries.")
    parser.add_argument("--only", default="", help="rows, with commas; leaves docs/benchmarks.md alone")
    parser.add_argument("--short", action="store_true", help="few rows, in 3 minutes, beside what is recorded")
    parser.add_argument(
        "--runs", type=int, default=1, help="whole runs, each from a fresh start; of each ratio the worst is recorded"
    )
    parser.add_argument(
        "--from", dest="begun", type=Path, nargs="+", default=[], metavar="JSON",
        help="runs that were begun before: the first ones of --runs, of which only the missing rows are measured",
    )  # fmt: skip
    parser.add_argument(
        "--dir", type=Path, default=LOCAL_DISK, help="where the registries keep their content; on a local disk"
    )
    parser.add_argument("--keep", action="store_true", help="leave the content and the logs there")
    options = parser.parse_args()
    if options.short and options.begun:
        parser.error("a short run is not carried on: it is over in 3 minutes")
    return options


def _chosen(names: Sequence[str]) -> list[Row]:
    known = {row.name: row for row in ROWS}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.stderr.write(f"bench: no row {', '.join(unknown)}; there are {', '.join(known)}\n")
        sys.exit(2)
    return [known[name] for name in names] or list(ROWS)


def refuse_unfit(work: Path, room_bytes: int) -> None:
    """Raise Unfit when the folder is not on a local disk, or has too little room: the disk would be full after an
    hour."""
    found = machine.filesystem(work)
    if found in machine.NOT_LOCAL:
        raise Unfit(f"{work} is on {found}: name a folder on a local disk with --dir")
    free = shutil.disk_usage(work).free
    if free < room_bytes:
        raise Unfit(f"{work} has {free / GIB:.1f} GiB free, a run of all rows needs {room_bytes / GIB:.1f}: see --dir")


def _measure(rows: Sequence[Row], scale: Scale, work: Path, options: argparse.Namespace) -> int:
    facts = {"machine": machine.describe(work), "versions": machine.versions()}
    about = {**facts, "is_short": scale.is_short}
    begun = [read(path, rows, about) for path in options.begun]
    runs = [*begun, *(Run() for _ in range(options.runs - len(begun)))]
    comparison = Comparison(_recorded()) if scale.is_short else None
    _run_all(runs, rows, Bench.measure if comparison is None else comparison.measure, scale, work, about)
    results = [run.results for run in runs]
    sys.stdout.write(f"\n{report.ratios(results)}\n{report.costs(report.worst(results))}\n")
    trouble = [line for run in runs for line in run.trouble]
    if comparison is not None:
        sys.stdout.write(f"{comparison}\n")
        trouble += comparison.fallen
    elif not options.only and not trouble:
        pulls, before = "; ".join(run.pulls for run in runs), PAGE.read_text("utf-8") if PAGE.exists() else ""
        page = report.page(results, about={**facts, "run": _when(len(runs))}, pulls=pulls, before=before)
        PAGE.write_text(page, "utf-8")
    return _judged(trouble)


def _run_all(
    runs: Sequence[Run],
    rows: Sequence[Row],
    measure: Callable[[Bench, Row], RowResult],
    scale: Scale,
    work: Path,
    about: Mapping[str, object],
) -> None:
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    for number, run in enumerate(runs):
        shutil.rmtree(work / str(number - 1), ignore_errors=True)  # there is hardly room for two
        path = RESULTS / f"{stamp}-{number + 1}.json"
        carry_on(run, rows, Bench(work / str(number), scale, say=_say), measure=measure, keep=keeper(path, about))
        _say(f"pulls counted: {run.pulls}; every sample: {path}")


def _recorded() -> dict[tuple[str, str], float]:
    return report.recorded(PAGE.read_text("utf-8")) if PAGE.exists() else {}


def _judged(trouble: Sequence[str]) -> int:
    for line in trouble:
        sys.stderr.write(f"bench: {line}\n")
    return 1 if trouble else 0


def _when(runs: int) -> dict[str, str]:
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    command = "make bench" + (f' BENCH="--runs {runs}"' if runs > 1 else "")
    worst = (
        f"{runs}; of each ratio the worst, of each row's other figures those of the run nearest to missing its goals"
    )
    several = {"runs": worst} if runs > 1 else {}
    return {"measured on": today, "command": command, **several, "load average at the end": f"{os.getloadavg()[0]:.2f}"}


def _say(text: str) -> None:
    sys.stdout.write(f"[{time.monotonic() - _STARTED_S:6.1f} s] {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
