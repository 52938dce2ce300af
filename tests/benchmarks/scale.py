"""How much is measured: the whole run, or the short one of CI; and how much else the registry holds meanwhile.

`python -m tests.benchmarks.scale --database URL --set medium` loads a data set into a migrated database.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from dataclasses import dataclass, replace

import psycopg

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
MOST_ROUNDS = 9
LARGE_BYTES = 256 * MIB  # a large blob's, in the rows that push one


@dataclass(frozen=True)
class Scale:
    """Sizes of the content and lengths of the loads. `seconds` is one measurement's, `rounds` how often it is made, or
    more often where it is shorter; `left_out` are contestants that are not measured, `once` those that are measured in
    one round only, because no goal is about them."""

    is_short: bool
    rounds: int
    seconds: float
    cold_tags: int
    listed_tags: int
    listed_repositories: int
    referrers: int
    huge_blob_bytes: int
    pull_clients: int
    pushed_images: int
    large_pushes: int
    left_out: frozenset[str] = frozenset()
    once: frozenset[str] = frozenset()

    @property
    def room_bytes(self) -> int:
        """What a run of all rows writes at the most: blobs in four places, large pushes of every round to five, those
        of one round of `memory-push`, and what the servers and their logs take beside."""
        return 4 * self.huge_blob_bytes + (5 * MOST_ROUNDS + self.large_pushes) * LARGE_BYTES + 4 * GIB


FULL = Scale(
    is_short=False,
    rounds=6,
    seconds=2,
    cold_tags=10_000,
    listed_tags=100_000,
    listed_repositories=5_000,
    referrers=1_000,
    huge_blob_bytes=GIB,
    pull_clients=50,
    pushed_images=100,
    large_pushes=32,
    once=frozenset({"debian"}),
)
SHORT = Scale(
    is_short=True,
    rounds=2,
    seconds=1,
    cold_tags=1_000,
    listed_tags=10_000,
    listed_repositories=FULL.listed_repositories,  # what v3 takes for a page grows with them
    referrers=100,
    huge_blob_bytes=256 * MIB,
    pull_clients=10,
    pushed_images=40,
    large_pushes=4,
    left_out=frozenset({"debian", "portolan:s3", "v3:s3"}),
)


@dataclass(frozen=True)
class DataSet:
    """So many repositories in each project, artifacts in each repository, tags on each artifact."""

    name: str
    projects: int
    repositories: int
    artifacts: int
    tags: int

    def project_names(self) -> list[str]:
        return [f"{self.name}-{number:04d}" for number in range(self.projects)]

    def repository_names(self) -> list[str]:
        """In each project, without its name."""
        return [f"team-{number % 10}/app-{number:04d}" for number in range(self.repositories)]


DATA_SETS = {
    data_set.name: data_set
    for data_set in (
        DataSet("small", projects=100, repositories=100, artifacts=10, tags=5),
        DataSet("medium", projects=200, repositories=200, artifacts=20, tags=10),
        DataSet("tags", projects=1, repositories=1, artifacts=10_000, tags=10),
    )
}


def load(database_url: str, data_set: DataSet) -> None:
    """Load a data set and gather the planner's statistics. Raises psycopg.errors.UniqueViolation when it is there."""
    with tempfile.TemporaryDirectory(prefix="portolan-load-") as data:
        _set_up_django(database_url, data)
        _load(database_url, data_set)


def _load(database_url: str, data_set: DataSet) -> None:
    from tests.benchmarks.bulk_content import BulkContent
    from tests.benchmarks.bulk_load import TABLES, BulkLoader

    started_s = time.monotonic()

    def say(project: str, artifacts: int) -> None:
        rate = artifacts / (time.monotonic() - started_s)
        sys.stdout.write(f"{project}: {artifacts:,} artifacts, {rate:,.0f}/s\n")
        sys.stdout.flush()

    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
            # Looking up every reference takes as long as all the rest, and test_scale.py compares the rows.
            connection.execute("SET session_replication_role = replica")
        BulkLoader(connection, BulkContent(data_set), origin="bulk load").load(say)
        connection.execute(f"VACUUM (ANALYZE) {', '.join((*TABLES, 'events_cursor'))}")


def _set_up_django(database_url: str, data: str) -> None:
    """The rows are made from what the registry makes of a manifest, and that lives in a Django app."""
    import django

    for name in [name for name in os.environ if name.startswith("PORTOLAN_")]:
        del os.environ[name]
    os.environ |= {
        "PORTOLAN_CONFIG": os.devnull,
        "PORTOLAN_DATABASE_URL": database_url,
        "PORTOLAN_DATA": data,
        "DJANGO_SETTINGS_MODULE": "registry_core.wiring.settings",
    }
    django.setup()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description="Load a data set.")
    parser.add_argument("--database", required=True, help="URL of a migrated database")
    parser.add_argument("--set", choices=DATA_SETS, default="small")
    parser.add_argument("--projects", type=int, help="other than the set's number")
    parser.add_argument("--tags-per-artifact", type=int, help="other than the set's number")
    return parser.parse_args()


def main() -> int:
    """Exit code 0, or 1 when the set was loaded before."""
    options = _options()
    data_set = DATA_SETS[options.set]
    data_set = replace(
        data_set, projects=options.projects or data_set.projects, tags=options.tags_per_artifact or data_set.tags
    )
    try:
        load(options.database, data_set)
    except psycopg.errors.UniqueViolation as error:
        sys.stderr.write(f"scale: the set {data_set.name} is there already, at least in part: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
