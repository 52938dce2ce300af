"""Brings the database up to date: migrations and the rows of the first start, by one process at a time.

It may be interrupted at any moment and started again: the process that gets the lock ends the sessions of a killed one,
and repairs the indexes that a migration outside a transaction left.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import django
import psycopg
from django.contrib.postgres.operations import AddIndexConcurrently
from django.core.management import call_command
from django.core.management.commands.migrate import Command
from django.db import OperationalError, ProgrammingError, connection
from django.db.migrations import Migration
from django.db.migrations.exceptions import InconsistentMigrationHistory
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from registry_core.config import ConfigError, get_config, place_of
from registry_core.database.index_repair import repair_indexes
from registry_core.database.preflight import SchemaState, connected, require_current, require_usable, schema_state
from registry_core.errors import InvalidInput
from registry_core.logs import get_logger

LOCK_TIMEOUT_S: Final = 5
LOCK_PATIENCE_S: Final = 600.0
_LOCK_KEY: Final = 0x706F72746F6C616E  # "portolan"
_WAITING: Final = "portolan migrate"
_WORKING: Final = "portolan migrate working"
_POLL_S: Final = 0.25
_SAY_EVERY_S: Final = 30.0
_IN_USE: Final = ("55P03", "40P01")  # the lock timeout expired, or we are the victim of a deadlock
_INSUFFICIENT_PRIVILEGE: Final = "42501"
# The server ends a statement of a dead process within this time; otherwise it would notice only at the end.
_LOOK_FOR_CLIENT_MS: Final = 2000
_HOLDER: Final = """
    SELECT activity.application_name, activity.client_addr::text FROM pg_locks AS lock
    JOIN pg_stat_activity AS activity ON activity.pid = lock.pid
    WHERE lock.locktype = 'advisory' AND lock.granted AND lock.objsubid = 1
      AND lock.classid::bigint = %s AND lock.objid::bigint = %s
"""
_END_OTHERS: Final = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE %s
"""
# A role or a database may have such limits for its other users, but migrating a large table takes time.
_NO_LIMITS: Final = """
    SELECT set_config('statement_timeout', '0', false), set_config('idle_session_timeout', '0', false),
           set_config('idle_in_transaction_session_timeout', '0', false)
"""
_IN_THE_WAY: Final = """
    SELECT pid, application_name, extract(epoch FROM now() - xact_start)::int FROM pg_stat_activity
    WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
    ORDER BY xact_start LIMIT 1
"""

_log = get_logger("portolan.migrate")


def migrate_database() -> None:
    """Apply migrations and create the administrator and the first project if they are missing.

    A second process that runs at the same time waits and then finds nothing to do. Uses the direct connection, since a
    pooler would lose the lock. Raises ConfigError if a person must act first, psycopg.OperationalError if the database
    is unreachable.
    """
    config = get_config()
    dsn = config.database_direct_dsn
    with connected(dsn, application_name=_named(_WAITING)) as lock:
        assert dsn is not None  # noqa: S101 `connected` has asked
        lock.execute(_NO_LIMITS)
        require_usable(lock)
        with _only_one(lock):
            _set_up_django(dsn)
            require_current_or_behind(lock, allows_newer=config.allow_newer_database)
            lock.execute(_END_OTHERS, [f"{_WORKING}%"])
            _require_rights(lock)
            _apply(lock)
            _first_rows()


def require_current_or_behind(database: psycopg.Connection[Any], *, allows_newer: bool) -> None:
    """Raises ConfigError when a newer release has migrated the database."""
    state = schema_state(database)
    require_current(SchemaState([], state.unknown), allows_newer=allows_newer)


@contextmanager
def _only_one(lock: psycopg.Connection[Any]) -> Iterator[None]:
    """Hold the session lock; it ends with the connection, however this process ends.

    The lock is polled rather than waited for: a waiting statement has a snapshot, and creating an index concurrently,
    which the holder may be doing, waits for all snapshots.
    """
    say_at = time.monotonic()
    while lock.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK_KEY]).fetchone() != (True,):
        if time.monotonic() >= say_at:
            _log.info("another `portolan migrate` is running, waiting for it", by=_holder(lock))
            say_at = time.monotonic() + _SAY_EVERY_S
        time.sleep(_POLL_S)
    yield


def _holder(lock: psycopg.Connection[Any]) -> str:
    row = lock.execute(_HOLDER, [_LOCK_KEY >> 32, _LOCK_KEY & 0xFFFF_FFFF]).fetchone()
    return f"{row[0].removeprefix(_WAITING).strip()} ({row[1] or 'a local socket'})" if row else "it has just ended"


def _named(role: str) -> str:
    """How others see this session: the process and the machine."""
    return f"{role} {os.getpid()}@{socket.gethostname()}"[:63]


def _set_up_django(dsn: str) -> None:
    os.environ["PORTOLAN_DATABASE_URL"] = dsn
    os.environ.pop("PORTOLAN_DATABASE_URL_FILE", None)
    get_config.cache_clear()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry_core.wiring.settings")
    django.setup()


def _require_rights(database: psycopg.Connection[Any]) -> None:
    row = database.execute(
        "SELECT current_user, current_schema(), has_schema_privilege(current_schema(), 'CREATE')"
    ).fetchone()
    assert row is not None  # noqa: S101 it has one
    role, schema, is_allowed = row
    if not is_allowed:
        raise ConfigError(
            f"{place_of('database_url')}: the role {role} cannot make tables in the schema {schema or 'public'}: as a "
            f'superuser, ALTER DATABASE … OWNER TO "{role}", or GRANT ALL ON SCHEMA {schema or "public"} TO "{role}"'
        )


def _apply(database: psycopg.Connection[Any]) -> None:
    """Run what is missing; repeatedly, while others hold the locks that it needs."""
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while True:
        repair_indexes(database, to_be_made=_indexes_to_be_made())
        try:
            _run_missing()
            return
        except (OperationalError, ProgrammingError) as error:
            state = getattr(error.__cause__, "sqlstate", None)
            if state == _INSUFFICIENT_PRIVILEGE:
                raise ConfigError(
                    f"{place_of('database_url')}: {' '.join(str(error).split())}: connect as the role that owns the "
                    "tables, or make this role a member of it"
                ) from None
            if state not in _IN_USE or time.monotonic() > deadline:
                raise
            _log.warning("a table is in use, trying again", reason=_in_the_way(database))
        time.sleep(1)


def _in_the_way(database: psycopg.Connection[Any]) -> str:
    row = database.execute(_IN_THE_WAY).fetchone()
    return (
        f"the session {row[0]} ({row[1] or 'unnamed'}) has a transaction open for {row[2]} s" if row else "it is over"
    )


def _indexes_to_be_made() -> list[str]:
    """The indexes that unrecorded migrations create concurrently."""
    loader = MigrationLoader(connection)
    pending = [migration for key, migration in loader.disk_migrations.items() if key not in loader.applied_migrations]
    return [
        operation.index.name
        for migration in pending
        for operation in migration.operations
        if isinstance(operation, AddIndexConcurrently)
    ]


def _run_missing() -> None:
    with connection.cursor() as cursor:
        cursor.execute(_NO_LIMITS)
        cursor.execute("SELECT set_config('application_name', %s, false)", [_named(_WORKING)])
        cursor.execute(f"SET client_connection_check_interval = {_LOOK_FOR_CLIENT_MS}")
    _catch_up()
    call_command(_Migrate(), interactive=False, verbosity=1)


def _catch_up() -> None:
    """First apply missing migrations that applied ones depend on: development versions had another order. Each only
    adds what the later ones do not touch."""
    for _ in MigrationLoader(connection).disk_migrations:
        loader = MigrationLoader(connection)
        try:
            loader.check_consistent_history(connection)
            return
        except InconsistentMigrationHistory as error:
            missing = _first_missing_dependency(loader)
            _log.warning("applying a migration out of order", migration=".".join(missing), reason=str(error))
            executor = MigrationExecutor(connection)
            executor.apply_migration(
                executor.loader.project_state([missing], at_end=False), executor.loader.get_migration(*missing)
            )


def _first_missing_dependency(loader: MigrationLoader) -> tuple[str, str]:
    """A missing migration whose own dependencies are applied, and on which an applied one depends."""
    applied, nodes = loader.applied_migrations, loader.graph.node_map
    needed = [parent.key for key in applied if key in nodes for parent in nodes[key].parents]
    for key in needed:
        for app, name in loader.graph.forwards_plan(key):
            if (app, name) not in applied:
                return app, name
    raise InconsistentMigrationHistory("no migration is missing, and yet the history is not consistent")


class _Migrate(Command):
    """Django's command, with a lock timeout, so that clients never queue behind a migration that waits for a lock."""

    def migration_progress_callback(self, action: str, migration: Migration | None = None, fake: bool = False) -> None:
        if action == "apply_start" and migration is not None:
            # Creating an index concurrently waits long, for older transactions, but blocks nobody.
            timeout_s = LOCK_TIMEOUT_S if migration.atomic else 0
            with connection.cursor() as cursor:
                cursor.execute(f"SET lock_timeout = '{timeout_s}s'")
        super().migration_progress_callback(action, migration, fake)


def _first_rows() -> None:
    """Create the rows that no migration can. The apps can only be imported once Django is set up."""
    from projects.bootstrap import ensure_library
    from rbac.bootstrap import ensure_admin
    from registry_core.content import installation

    try:
        ensure_admin()
    except InvalidInput as error:
        raise ConfigError(f"{place_of('admin_password')}: {error}") from None
    ensure_library()
    installation.begin()
