"""`python -m tests.benchmarks.on_scale`: does what the registry holds already make it slower?

Two registries run side by side, one with the small data set and one with the medium one, and every row of the bench is
measured on both in turns. Then pages at several depths of long lists, the start, and the size of the database. It all
goes to docs/benchmarks-scale.md, when no row was left out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import psycopg

from tests.benchmarks import machine, programs, rest_lists
from tests.benchmarks.bench import Bench, kind
from tests.benchmarks.contents import TAGS
from tests.benchmarks.contestants import Portolan
from tests.benchmarks.rest_lists import ListTimes
from tests.benchmarks.rows import ROWS
from tests.benchmarks.rows.base import Row
from tests.benchmarks.scale import DATA_SETS, FULL, SHORT, DataSet
from tests.benchmarks.scale_report import DEPTHS, Compared, Measured, Sizes, page

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks-scale.md"
ROOT = Path(__file__).parents[2]
PAGES_EACH = 40
LEFT_OUT = frozenset({"v3", "debian", "nginx", "v3:s3", "portolan:s3"})
_OF_TAGS = ("content_tag", "content_taghistory")


def main() -> int:
    """Exit code 0, or 1 when a row is too slow on the large set, a page too slow in the depth, or the start."""
    options = _options()
    programs.install_missing()
    rows = [row for row in ROWS if not options.only or row.name in options.only.split(",")]
    work = options.dir / f"portolan-scale-{os.getpid()}"
    sets = [_reduced(name, options.tags_per_artifact) for name in ("small", options.set)]
    try:
        with ExitStack() as stack:
            benches = [stack.enter_context(_loaded(work / s.name, s, rows, is_short=options.short)) for s in sets]
            measured = Measured(
                sets=sets,
                rows=[compared for row in rows for compared in _compare(row, benches)],
                pages={s.name: _pages(bench) for s, bench in zip(sets, benches, strict=True)},
                rest={s.name: _rest(bench, s) for s, bench in zip(sets, benches, strict=True)},
                starts_s={s.name: _start_s(bench) for s, bench in zip(sets, benches, strict=True)},
                sizes={s.name: _sizes(_database_url(bench), s) for s, bench in zip(sets, benches, strict=True)},
            )
        text = page(measured, machine.describe(work))
    finally:
        if not options.keep:
            shutil.rmtree(work, ignore_errors=True)
    sys.stdout.write(text)
    if not options.only and not options.short:
        PAGE.write_text(text, "utf-8")
    return 0 if measured.is_well else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.on_scale")
    parser.add_argument("--set", choices=DATA_SETS, default="medium")
    parser.add_argument("--tags-per-artifact", type=int, help="fewer than the sets have, when disk or time are short")
    parser.add_argument("--only", default="", help="rows, with commas; leaves the page alone")
    parser.add_argument("--short", action="store_true", help="shorter measurements; leaves the page alone")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="a folder on a local disk")
    parser.add_argument("--keep", action="store_true", help="leave the content and the logs there")
    return parser.parse_args()


def _reduced(name: str, tags: int | None) -> DataSet:
    data_set = DATA_SETS[name]
    return replace(data_set, tags=min(data_set.tags, tags or data_set.tags))


@contextmanager
def _loaded(work: Path, data_set: DataSet, rows: Sequence[Row], *, is_short: bool) -> Iterator[Bench]:
    """A bench of Portolan alone, on a database that holds the data set."""
    # How large a blob is, and how many of those are pushed, has nothing to do with what is there already.
    scale = replace(
        SHORT if is_short else FULL,
        left_out=LEFT_OUT,
        huge_blob_bytes=SHORT.huge_blob_bytes,
        large_pushes=SHORT.large_pushes,
    )
    work.mkdir(parents=True)
    bench = Bench(work, scale, say=lambda text: _say(f"{data_set.name}: {text}"))
    with bench.running(rows):
        for loaded in (DATA_SETS["tags"], data_set):
            _load(_database_url(bench), loaded)
        bench.fill(rows)
        if "tags" not in {part for row in rows for part in row.needs}:
            bench.contents.fill(bench.on("portolan"), "tags")
        yield bench


def _load(database_url: str, data_set: DataSet) -> None:
    arguments = ["--database", database_url, "--set", data_set.name, "--tags-per-artifact", f"{data_set.tags}"]
    command = [sys.executable, "-m", "tests.benchmarks.scale", *arguments]
    began_s = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    artifacts = data_set.projects * data_set.repositories * data_set.artifacts
    _say(f"loaded {data_set}: {artifacts / (time.monotonic() - began_s):,.0f} artifacts/s")


def _rest(bench: Bench, data_set: DataSet) -> list[ListTimes]:
    """The lists of the REST API."""
    portolan = bench.on("portolan")
    assert isinstance(portolan, Portolan)
    found = rest_lists.measured(portolan, data_set, seconds=bench.scale.seconds)
    for times in found:
        _say(f"{data_set.name}: {times.asked.name}: {times.per_s:,.0f}/s, p95 {times.p95_ms:.1f} ms")
    return found


def _compare(row: Row, benches: Sequence[Bench]) -> Iterator[Compared]:
    for who in (who for who in row.who if kind(who) == "portolan"):
        values: list[list[float]] = [[], []]
        for _ in range(benches[0].scale.rounds):
            for bench, found in zip(benches, values, strict=True):
                found.append(row.measure(bench, who).value)
        small, large = map(statistics.median, values)
        variant = who.partition(":")[2]
        compared = Compared(f"{row.name}{', ' if variant else ''}{variant}", row.unit, small, large)
        _say(f"{compared.name}: {small:,.1f} and {large:,.1f} {row.unit}, {compared.slower:.2f} times slower")
        yield compared


def _pages(bench: Bench) -> dict[str, list[float]]:
    """Milliseconds of a page of 100, by list, at each depth; medians, the depths in turns."""
    portolan = bench.on("portolan")
    headers = portolan.headers(f"repository:{TAGS}:pull", "registry:catalog:*")
    tags = [f"b{round(depth * bench.scale.listed_tags):06d}" for depth in DEPTHS]
    with psycopg.connect(_database_url(bench)) as database:
        names = [_name_at(database, depth) for depth in DEPTHS]
    paths = {
        "tags/list": [f"/v2/{TAGS}/tags/list?n=100&last={last}" for last in tags],
        "_catalog": [f"/v2/_catalog?n=100&last={last}" for last in names],
    }
    with httpx.Client(base_url=portolan.url, headers=headers, timeout=60) as client:
        return {what: _page_times(client, of_depth) for what, of_depth in paths.items()}


def _name_at(database: psycopg.Connection[tuple[str]], depth: float) -> str:
    if depth == 0:
        return ""
    row = database.execute(
        """
        SELECT full_name FROM (
            SELECT (project.name || '/' || repository.name) COLLATE "C" AS full_name
            FROM content_repository AS repository JOIN content_project AS project ON project.id = repository.project_id
        ) AS named
        ORDER BY full_name OFFSET (SELECT (count(*) * %s)::int FROM content_repository) LIMIT 1
        """,
        [depth],
    ).fetchone()
    return row[0] if row else ""


def _page_times(client: httpx.Client, paths: Sequence[str]) -> list[float]:
    taken_ms: list[list[float]] = [[] for _ in paths]
    for _ in range(PAGES_EACH):
        for path, found in zip(paths, taken_ms, strict=True):
            began_s = time.perf_counter()
            client.get(path).raise_for_status()
            found.append((time.perf_counter() - began_s) * 1000)
    return [statistics.median(found) for found in taken_ms]


def _start_s(bench: Bench) -> float:
    """Seconds from `portolan up` to its first answer, on what is there."""
    portolan = bench.on("portolan")
    portolan.stop()
    began_s = time.monotonic()
    portolan.start()
    return time.monotonic() - began_s


def _sizes(database_url: str, data_set: DataSet) -> Sizes:
    """Tables and their indexes: what a tag takes, and what an artifact takes beside its tags."""
    with psycopg.connect(database_url) as database:
        rows = database.execute(
            """
            SELECT coalesce((SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = relation.oid), relname),
                   pg_total_relation_size(relation.oid)
            FROM pg_class AS relation JOIN pg_namespace AS namespace ON namespace.oid = relnamespace
            WHERE relkind = 'r' AND nspname = 'public'
            """
        ).fetchall()
    of_tags = sum(size for table, size in rows if table in _OF_TAGS)
    total = sum(size for _, size in rows)
    artifacts = data_set.projects * data_set.repositories * data_set.artifacts
    return Sizes((total - of_tags) / artifacts, of_tags / (artifacts * data_set.tags), total)


def _database_url(bench: Bench) -> str:
    portolan = bench.on("portolan")
    assert isinstance(portolan, Portolan)
    return (portolan.folder / "run" / "database.url").read_text().strip()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
