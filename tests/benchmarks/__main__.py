"""`python -m tests.benchmarks`: what `make bench` runs."""

import argparse
import datetime
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import machine, programs, report
from tests.benchmarks.bench import Bench, PullCountWrong, RowResult
from tests.benchmarks.rows import ROWS
from tests.benchmarks.rows.base import Row
from tests.benchmarks.scale import FULL, SHORT

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
LOCAL_DISK = Path("/var/tmp")  # a folder that the database's account may enter, and by convention no tmpfs
RESULTS = Path(__file__).parent / "results"
_STARTED_S = time.monotonic()


def main() -> int:
    """Exit code 0; 1: errors, wrong pull counts, or (short) a ratio below half of what is recorded; 2: wrong usage."""
    options = _options()
    scale = SHORT if options.short else FULL
    rows = [row for row in _chosen(options.only) if row.who[0] not in scale.left_out]
    work = options.dir / f"portolan-bench-{os.getpid()}"
    try:
        programs.install_missing()
        work.mkdir(parents=True)
        _refuse_memory(work)
        runs = []
        for number in range(options.runs):
            shutil.rmtree(work / str(number - 1), ignore_errors=True)  # there is hardly room for two
            runs.append(_run(Bench(work / str(number), scale, say=_say), rows))
        return _told(runs, work, is_short=options.short, is_page=not options.only and not options.short)
    except programs.Missing as error:
        sys.exit(f"bench: {error}")
    finally:
        if not options.keep:
            shutil.rmtree(work, ignore_errors=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="Compare Portolan with other registries.")
    parser.add_argument("--only", default="", help="rows, with commas; leaves docs/benchmarks.md alone")
    parser.add_argument("--short", action="store_true", help="less of all, in 3 minutes, beside what is recorded")
    parser.add_argument(
        "--runs", type=int, default=1, help="whole runs, each from a fresh start; the worst is recorded"
    )
    parser.add_argument(
        "--dir", type=Path, default=LOCAL_DISK, help="where the registries keep their content; on a local disk"
    )
    parser.add_argument("--keep", action="store_true", help="leave the content and the logs there")
    return parser.parse_args()


def _chosen(only: str) -> list[Row]:
    names = [name for name in only.split(",") if name]
    known = {row.name: row for row in ROWS}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.stderr.write(f"bench: no row {', '.join(unknown)}; there are {', '.join(known)}\n")
        sys.exit(2)
    return [known[name] for name in names] or list(ROWS)


def _refuse_memory(work: Path) -> None:
    found = machine.filesystem(work)
    if found in machine.NOT_LOCAL:
        sys.exit(f"bench: {work} is on {found}: name a folder on a local disk with --dir")


@dataclass(frozen=True)
class _Run:
    """What one run gave: its rows, what it says of the pulls, and what went wrong."""

    results: list[RowResult]
    pulls: str
    trouble: list[str]


def _run(bench: Bench, rows: Sequence[Row]) -> _Run:
    pulls = "not looked at"
    with bench.running(rows):
        bench.fill(rows)
        results = [bench.measure(row) for row in rows]
        trouble = [f"{result.row.name}: {result.errors} errors" for result in results if result.errors]
        try:
            if "portolan" in bench.contestants:
                pulls = "{:,} (sent: {:,} to {:,})".format(*bench.check_pulls())
        except PullCountWrong as error:
            trouble.append(str(error))
    _say(f"pulls counted: {pulls}")
    return _Run(results, pulls, trouble)


def _told(runs: Sequence[_Run], work: Path, *, is_short: bool, is_page: bool) -> int:
    results, pulls = report.worst([run.results for run in runs]), "; ".join(run.pulls for run in runs)
    trouble = [line for run in runs for line in run.trouble]
    about = {"machine": machine.describe(work), "versions": machine.versions(), "run": _when(len(runs))}
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    for number, run in enumerate(runs):
        path = RESULTS / f"{stamp}-{number + 1}.json"
        report.write_json(path, run.results, {**about, "pulls": run.pulls, "is_short": is_short})
    sys.stdout.write(f"\n{report.ratios(results)}\n{report.costs(results)}\n")
    if is_short and PAGE.exists():
        trouble += report.fallen(results, report.recorded(PAGE.read_text("utf-8")))
    if is_page and not trouble:
        before = PAGE.read_text("utf-8") if PAGE.exists() else ""
        PAGE.write_text(report.page(results, about=about, pulls=pulls, before=before), "utf-8")
    return _judged(trouble)


def _judged(trouble: Sequence[str]) -> int:
    for line in trouble:
        sys.stderr.write(f"bench: {line}\n")
    return 1 if trouble else 0


def _when(runs: int) -> dict[str, str]:
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    times = {"runs": f"{runs}; each row is that of the run in which its goals were reached least"} if runs > 1 else {}
    command = "make bench" + (f' BENCH="--runs {runs}"' if runs > 1 else "")
    return {"measured on": today, "command": command, **times, "load average at the end": f"{os.getloadavg()[0]:.2f}"}


def _say(text: str) -> None:
    sys.stdout.write(f"[{time.monotonic() - _STARTED_S:6.1f} s] {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
