"""Checks before a process uses the database: that it is reachable, supported, and has the tables of this release.

An unreachable database is waited for, since it may start a moment later than this process. Whatever only a person can
fix is a ConfigError, which names the setting and the remedy.
"""

from __future__ import annotations

import pkgutil
import re
import time
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

import psycopg
from django.apps import apps

from registry_core.config import Config, ConfigError, place_of
from registry_core.logs import get_logger, redact_text

MIN_VERSION: Final = 14
WAIT_S: Final = 60.0
_POLL_S: Final = 0.5
_SAY_EVERY_S: Final = 10.0
_NAMES_SHOWN: Final = 5
_REFUSED_FOR_NOW: Final = re.compile(
    r"starting up|shutting down|recovery mode|not accepting|not yet accepting|too many|slots are reserved|terminating",
    re.IGNORECASE,
)
_REFUSED: Final = re.compile(r"FATAL:\s*(.*)", re.DOTALL)
_NO_HOST: Final = re.compile(r"failed to resolve host '([^']*)'|could not translate host name \"([^\"]*)\"")
_WRONG: Final = re.compile(
    r"certificate|SSL|invalid (?:integer )?value|invalid \w+ value|unknown authentication|definition of service",
    re.IGNORECASE,
)

_log = get_logger("portolan.database")


@dataclass(frozen=True, slots=True)
class SchemaState:
    """Migrations, as `app.name`, that only the code has, and those that only the database has."""

    missing: list[str]
    unknown: list[str]


def require_database(config: Config, *, wait_s: float = WAIT_S) -> None:
    """Return when the database answers and can be used by this release.

    Raises ConfigError if a person must act, psycopg.OperationalError if it stays unreachable for `wait_s`.
    """
    with connected(config.database_dsn, wait_s=wait_s) as connection:
        require_usable(connection)
        require_current(schema_state(connection), allows_newer=config.allow_newer_database)


def connected(
    dsn: str | None, *, key: str = "database_url", wait_s: float = 0.0, **options: Any
) -> psycopg.Connection[Any]:
    """A connection in autocommit mode to the database of the setting `key`. Raises as `require_database`."""
    if dsn is None:
        raise ConfigError("no database: set PORTOLAN_DATABASE_URL, or start `portolan up`")
    deadline, say_at = time.monotonic() + wait_s, time.monotonic()
    while True:
        try:
            return psycopg.connect(dsn, autocommit=True, connect_timeout=10, **options)
        except psycopg.ProgrammingError as error:
            raise ConfigError(f"{place_of(key)}: {redact_text(str(error))}") from None
        except psycopg.OperationalError as error:
            _refuse_what_stays(error, key=key)
            now = time.monotonic()
            if now >= deadline:
                raise
            if now >= say_at:
                _log.warning("the database does not answer, waiting for it", reason=_one_line(error))
                say_at = now + _SAY_EVERY_S
            time.sleep(_POLL_S)


def require_usable(connection: psycopg.Connection[Any]) -> None:
    """Raises ConfigError for a server that is too old, a database with another encoding, one that is read-only, and one
    with an unsupported date format."""
    place, version = place_of("database_url"), connection.info.server_version
    if version < MIN_VERSION * 10_000:
        raise ConfigError(
            f"{place}: the server is PostgreSQL {version // 10_000}, and {MIN_VERSION} or newer is needed: upgrade it"
        )
    encoding, is_standby, database, is_read_only, dates = _row(
        connection,
        "SELECT current_setting('server_encoding'), pg_is_in_recovery(), current_database(), "
        "current_setting('transaction_read_only')::boolean, current_setting('DateStyle')",
    )
    if encoding != "UTF8":
        raise ConfigError(
            f"{place}: the database {database} has the encoding {encoding}, but UTF8 is needed: create another with "
            f"CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )
    if is_standby:
        raise ConfigError(f"{place}: the server is a standby, which is read-only: use the primary")
    if is_read_only:
        raise ConfigError(
            f"{place}: the database {database} is read-only, by the setting default_transaction_read_only: turn it "
            "off for the server, the database and the role (hosted servers turn it on when their disk is full)"
        )
    if not dates.startswith("ISO"):
        raise ConfigError(
            f"{place}: the database {database} writes dates as {dates}: set datestyle to ISO for the server, the "
            "database and the role"
        )


def require_current(state: SchemaState, *, allows_newer: bool) -> None:
    """Raises ConfigError if the database is older than the code, or newer and that is not allowed."""
    if state.missing:
        raise ConfigError(
            f"the database is older than this release, {_counted(state.missing)} missing: run `portolan migrate`"
        )
    if state.unknown and not allows_newer:
        raise ConfigError(
            f"the database was migrated by a newer release, {_counted(state.unknown)} unknown here: install that "
            "release, or set PORTOLAN_ALLOW_NEWER_DATABASE=true for as long as a rolling upgrade lasts"
        )


def schema_state(connection: psycopg.Connection[Any]) -> SchemaState:
    """The difference between the database's migrations and those of the code; Django must be set up. Raises ConfigError
    if the role may not read them."""
    applied = _applied(connection)
    known = {f"{app.label}.{name}" for app in apps.get_app_configs() for name in _migrations_of(app.name)}
    return SchemaState(sorted(known - applied), sorted(applied - known))


def _applied(connection: psycopg.Connection[Any]) -> set[str]:
    if _row(connection, "SELECT to_regclass('django_migrations') IS NULL")[0]:
        return set()
    try:
        return {f"{app}.{name}" for app, name in connection.execute("SELECT app, name FROM django_migrations")}
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigError(
            f"{place_of('database_url')}: {_one_line(error)}: connect as the role that owns the tables, or grant it to "
            "this one"
        ) from None


def _migrations_of(package: str) -> list[str]:
    """The names of a package's migrations. They are not imported, which would take time, and memory in each process."""
    spec = find_spec(f"{package}.migrations")
    folders = spec.submodule_search_locations if spec is not None else None
    return [module.name for module in pkgutil.iter_modules(folders or []) if not module.ispkg]


def _refuse_what_stays(error: psycopg.OperationalError, *, key: str) -> None:
    """Raises ConfigError if trying again would not help."""
    place, message = place_of(key), _one_line(error)
    if host := _NO_HOST.search(message):
        raise ConfigError(
            f"{place}: the host {host[1] or host[2]!r} has no address: correct its name, or the DNS of this machine"
        ) from None
    refused = _REFUSED.search(message)
    if refused and not _REFUSED_FOR_NOW.search(message):
        raise ConfigError(
            f"{place}: the server refuses the connection ({refused[1]}): correct user, password and database, or make "
            "them there"
        ) from None
    if not refused and _WRONG.search(message):
        raise ConfigError(f"{place}: {message}") from None


def _counted(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")
    return f"1 migration ({shown}) is" if len(names) == 1 else f"{len(names)} migrations ({shown}) are"


def _row(connection: psycopg.Connection[Any], statement: str) -> Any:
    row = connection.execute(statement).fetchone()
    assert row is not None, statement  # noqa: S101 each has one
    return row


def _one_line(error: Exception) -> str:
    return redact_text(" ".join(str(error).split()))
