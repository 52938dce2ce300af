"""`python -m tests.benchmarks`: what `make bench` runs."""

import argparse
import datetime
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import machine, programs, report
from tests.benchmarks.bench import Bench, PullCountWrong
from tests.benchmarks.rows import ROWS
from tests.benchmarks.rows.base import Row
from tests.benchmarks.scale import FULL, SHORT

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
LOCAL_DISK = Path("/var/tmp")  # a folder that the database's account may enter, and by convention no tmpfs
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Exit code 0; 1: errors, wrong pull counts, or (short) a ratio below half of what is recorded; 2: wrong usage."""
    options = _options()
    rows = _chosen(options.only, is_short=options.short)
    work = options.dir / f"portolan-bench-{os.getpid()}"
    try:
        programs.install_missing()
        work.mkdir(parents=True)
        _refuse_memory(work)
        return _run(rows, work, is_short=options.short, is_page=not options.only and not options.short)
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
        "--dir", type=Path, default=LOCAL_DISK, help="where the registries keep their content; on a local disk"
    )
    parser.add_argument("--keep", action="store_true", help="leave the content and the logs there")
    return parser.parse_args()


def _chosen(only: str, *, is_short: bool) -> list[Row]:
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


def _run(rows: Sequence[Row], work: Path, *, is_short: bool, is_page: bool) -> int:
    started_s = time.monotonic()
    bench = Bench(work, SHORT if is_short else FULL, say=lambda text: _say(started_s, text))
    about = {"machine": machine.describe(work), "versions": machine.versions(), "run": _when()}
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
    _say(started_s, f"pulls counted: {pulls}")
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    report.write_json(RESULTS / f"{stamp}.json", results, {**about, "pulls": pulls, "is_short": is_short})
    sys.stdout.write(f"\n{report.ratios(results)}\n{report.costs(results)}\n")
    if is_short and PAGE.exists():
        trouble += report.fallen(results, report.recorded(PAGE.read_text("utf-8")))
    if is_page and not trouble:
        PAGE.write_text(report.page(results, about=about, pulls=pulls), "utf-8")
    return _judged(trouble)


def _judged(trouble: Sequence[str]) -> int:
    for line in trouble:
        sys.stderr.write(f"bench: {line}\n")
    return 1 if trouble else 0


def _when() -> dict[str, str]:
    load = os.getloadavg()[0]
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    return {"measured on": today, "command": "make bench", "load average at the start": f"{load:.2f}"}


def _say(started_s: float, text: str) -> None:
    sys.stdout.write(f"[{time.monotonic() - started_s:6.1f} s] {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
