"""`portolan migrate`: several at once, killed in the middle and repeated, in the way of others; and that nothing starts
on a database that is not up to date."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from django.db.migrations.loader import MigrationLoader

from registry_core.machine.processes import spawn
from registry_core.wiring.supervisor.ports import free_port
from tests.support.databases import create_database, create_empty_database, drop_database
from tests.support.extent import IS_FULL
from tests.support.server import PORTOLAN
from tests.support.waiting import wait_until

WITHIN_S = 180.0
INVALID = """
    SELECT class.relname FROM pg_index AS index JOIN pg_class AS class ON class.oid = index.indexrelid
    WHERE NOT index.indisvalid AND class.relkind = 'i'
"""
WORKING = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'portolan migrate working%'
      AND wait_event_type = 'Lock'
"""
SCHEMA = """
    SELECT 'column', table_name, column_name, data_type, is_nullable FROM information_schema.columns
    WHERE table_schema = 'public'
    UNION ALL SELECT 'index', tablename, indexname, indexdef, '' FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT 'migration', app, name, '', '' FROM django_migrations ORDER BY 1, 2, 3
"""


class Database(NamedTuple):
    """A database of the test's own, and a folder for what its commands print and keep."""

    url: str
    folder: Path

    def environment(self, **variables: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PORTOLAN_")}
        ours = {
            "CONFIG": os.devnull, "DATA": str(self.folder), "DATABASE_URL": self.url,
            "REDIS_URL": os.environ["PORTOLAN_REDIS_URL"], "PORT": str(free_port()),
        }  # fmt: skip
        return inherited | {f"PORTOLAN_{name}": value for name, value in (ours | variables).items()}

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(PORTOLAN), *arguments], env=self.environment(**variables), capture_output=True, text=True,
            timeout=WITHIN_S, check=False,
        )  # fmt: skip

    def start_migrate(self) -> subprocess.Popen[bytes]:
        with (self.folder / "migrate.log").open("ab") as log:
            return spawn([PORTOLAN, "migrate"], death_signal=signal.SIGKILL, env=self.environment(), log=log)

    def log(self) -> str:
        return (self.folder / "migrate.log").read_text()

    def go_to(self, app: str, migration: str) -> None:
        """Apply what comes before and with one migration."""
        environment = self.environment() | {"DJANGO_SETTINGS_MODULE": "registry_core.wiring.settings"}
        command = [sys.executable, "-m", "django", "migrate", app, migration, "--verbosity", "0"]
        subprocess.run(command, env=environment, check=True, timeout=WITHIN_S)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(statement).fetchall()

    def change(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def some_database(folder: Path, *, is_migrated: bool) -> Iterator[Database]:
    cluster, name = os.environ["PORTOLAN_DATABASE_URL"], f"portolan_migrate_{secrets.token_hex(4)}"
    yield Database((create_database if is_migrated else create_empty_database)(cluster, name), folder)
    drop_database(cluster, name)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Database]:
    with some_database(tmp_path, is_migrated=False) as database:
        yield database


@pytest.fixture
def migrated(tmp_path: Path) -> Iterator[Database]:
    with some_database(tmp_path, is_migrated=True) as database:
        yield database


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    """What a migration that nobody disturbs makes."""
    with some_database(tmp_path_factory.mktemp("undisturbed"), is_migrated=True) as database:
        return database.rows(SCHEMA)


def is_whole(database: Database, schema: list[tuple[Any, ...]]) -> bool:
    assert database.rows(INVALID) == []
    assert database.rows(SCHEMA) == schema
    return database.rows("SELECT count(*) FROM rbac_user") == [(1,)]


def not_atomic() -> list[tuple[str, str]]:
    migrations = MigrationLoader(None).disk_migrations
    return sorted(key for key, migration in migrations.items() if not migration.atomic)


@pytest.mark.parametrize("count", [2, 3])
def test_many_at_once_on_an_empty_database_all_succeed_and_say_that_they_wait(
    empty: Database, schema: list[tuple[Any, ...]], count: int
) -> None:
    processes = [empty.start_migrate() for _ in range(count)]
    assert [process.wait(WITHIN_S) for process in processes] == [0] * count, empty.log()
    assert "another `portolan migrate` is running" in empty.log()
    assert "@" in empty.log()
    assert is_whole(empty, schema)


def test_limits_of_the_role_or_database_do_not_end_a_migration(empty: Database, schema: list[tuple[Any, ...]]) -> None:
    migration = not_atomic()[0]
    needed = MigrationLoader(None).disk_migrations[migration].dependencies
    (before,) = [name for app, name in needed if app == migration[0]]
    empty.go_to(migration[0], before)
    name = empty.rows("SELECT current_database()")[0][0]
    limits = ("statement_timeout", "idle_session_timeout", "idle_in_transaction_session_timeout")
    with psycopg.connect(empty.url) as blocker:
        blocker.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        empty.change("; ".join(f"ALTER DATABASE {name} SET {limit} = '3s'" for limit in limits))
        process = empty.start_migrate()
        past_limits = f"{WORKING} AND query_start < clock_timestamp() - interval '4 seconds'"
        wait_until(lambda: empty.rows(past_limits) != [], what="it waits for longer than that", within_s=WITHIN_S)
    assert process.wait(WITHIN_S) == 0, empty.log()
    assert is_whole(empty, schema)


@pytest.mark.parametrize("migration", not_atomic() if IS_FULL else not_atomic()[-2:], ids=".".join)
@pytest.mark.parametrize("in_the_way", ["a snapshot", "a lock of each table"])
def test_killed_in_a_migration_outside_of_a_transaction_it_can_be_repeated(
    empty: Database, schema: list[tuple[Any, ...]], migration: tuple[str, str], in_the_way: str
) -> None:
    """Each table that the migration makes indexes on is locked in turn, so that it stands at each of them once."""
    needed = MigrationLoader(None).disk_migrations[migration].dependencies
    (before,) = [name for app, name in needed if app == migration[0]]
    empty.go_to(migration[0], before)
    for table in tables_of(migration) if in_the_way != "a snapshot" else [None]:
        with psycopg.connect(empty.url) as blocker:
            if table is None:
                blocker.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1")
            else:
                blocker.execute(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")
            process = empty.start_migrate()
            wait_until(lambda: empty.rows(WORKING) != [], what="it waits in the migration", within_s=WITHIN_S)
            process.send_signal(signal.SIGKILL)
            process.wait()
    again = [empty.start_migrate() for _ in range(2)]
    assert [process.wait(WITHIN_S) for process in again] == [0, 0], empty.log()
    assert is_whole(empty, schema)


def tables_of(migration: tuple[str, str]) -> list[str]:
    app, operations = migration[0], MigrationLoader(None).disk_migrations[migration].operations
    named = [f"{app}_{name}" for operation in operations if (name := getattr(operation, "model_name_lower", None))]
    return list(dict.fromkeys(named)) or [f"{app}_project", f"{app}_repository"]


def test_index_that_was_left_invalid_by_somebody_is_made_valid(
    migrated: Database, schema: list[tuple[Any, ...]]
) -> None:
    migrated.run("migrate")
    with psycopg.connect(migrated.url) as blocker, psycopg.connect(migrated.url, autocommit=True) as admin:
        admin.execute("DROP INDEX artifact_accessories")
        (definition,) = [row[3] for row in schema if row[2] == "artifact_accessories"]
        blocker.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        admin.execute("SET statement_timeout = '1s'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            admin.execute(definition.replace("CREATE INDEX", "CREATE INDEX CONCURRENTLY"))
    assert migrated.rows(INVALID) == [("artifact_accessories",)]
    assert migrated.run("migrate").returncode == 0
    assert is_whole(migrated, schema)


def test_long_transaction_of_somebody_is_waited_for_without_making_others_wait(empty: Database) -> None:
    empty.go_to("content", "0006_name_search")
    with psycopg.connect(empty.url) as long, psycopg.connect(empty.url, autocommit=True) as client:
        long.execute("SELECT count(*) FROM content_repository")
        process = empty.start_migrate()
        wait_until(lambda: "a table is in use, trying again" in empty.log(), what="it says so", within_s=WITHIN_S)
        client.execute("SET lock_timeout = '20s'")
        for _ in range(20):
            client.execute("SELECT count(*) FROM content_repository")  # never for longer than the lock's timeout
        long.rollback()
        assert process.wait(WITHIN_S) == 0, empty.log()


@pytest.mark.parametrize("command", ["serve", "worker", "beat", "storage check"])
def test_database_without_our_tables_is_refused(empty: Database, command: str) -> None:
    done = empty.run(*command.split())
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "run `portolan migrate`" in done.stderr


@pytest.mark.parametrize("command", ["serve", "worker", "beat", "createuser ada"])
def test_database_that_is_behind_is_refused_and_the_migrations_are_named(migrated: Database, command: str) -> None:
    migrated.change("DELETE FROM django_migrations WHERE name = '0007_repository_changed_at'")
    done = migrated.run(*command.split())
    assert (done.returncode, done.stderr.count("\n")) == (3, 1), done.stderr
    assert "content.0007_repository_changed_at" in done.stderr


@pytest.mark.parametrize("command", ["serve", "worker", "beat", "migrate", "up"])
def test_database_that_is_ahead_is_refused_and_the_migrations_are_named(migrated: Database, command: str) -> None:
    from_the_future(migrated)
    done = migrated.run(command)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("\n") == 1
    assert "content.9999_from_the_future" in done.stderr
    assert "PORTOLAN_ALLOW_NEWER_DATABASE" in done.stderr


def test_check_tells_of_a_database_that_is_ahead(migrated: Database) -> None:
    from_the_future(migrated)
    done = migrated.run("check")
    assert done.returncode == 1
    assert "content.9999_from_the_future" in done.stdout


def test_newer_database_is_taken_while_a_rolling_upgrade_lasts(migrated: Database) -> None:
    migrated.run("migrate")
    from_the_future(migrated)
    assert migrated.run("migrate", ALLOW_NEWER_DATABASE="true").returncode == 0
    assert migrated.run("storage", "check", ALLOW_NEWER_DATABASE="true").returncode == 0


def test_missing_migrations_are_applied_in_another_order_than_the_one_in_which_they_stand(
    migrated: Database, schema: list[tuple[Any, ...]]
) -> None:
    """Development versions had the audit log before the labels, on which it depends today."""
    migrated.change("DROP TABLE projects_artifactlabel, projects_label")
    migrated.change("DELETE FROM django_migrations WHERE app = 'projects' AND name = '0002_labels'")
    done = migrated.run("migrate")
    assert done.returncode == 0, done.stderr
    assert is_whole(migrated, schema)


def from_the_future(database: Database) -> None:
    database.change(
        "INSERT INTO django_migrations (app, name, applied) VALUES ('content', '9999_from_the_future', now())"
    )
