"""What is looked at before a process works on the database: that it can be reached, is one that we can use, and has
the tables that this release works on.

A database that is away is waited for, as it may come a moment later than we do. Whatever only a person can repair is a
ConfigError, which names the setting and the remedy.
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
    """Migrations, `app.name`, that the code has and the database has not, and the other way round."""

    missing: list[str]
    unknown: list[str]


def require_database(config: Config, *, wait_s: float = WAIT_S) -> None:
    """Return when the database answers and is one that this release can work on.

    Raises ConfigError when a person must do something, psycopg.OperationalError when it stays away for `wait_s`.
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
    """Raises ConfigError for a server that is too old, a database of another encoding, one that takes no writes, and
    one whose dates we cannot read."""
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
            f"{place}: the database {database} has the encoding {encoding}, and UTF8 is needed: make another by "
            f"CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )
    if is_standby:
        raise ConfigError(f"{place}: the server is a standby, which takes no writes: name the primary")
    if is_read_only:
        raise ConfigError(
            f"{place}: the database {database} takes no writes, by the setting default_transaction_read_only: turn it "
            "off for the server, the database and the role (hosted servers turn it on when their disk is full)"
        )
    if not dates.startswith("ISO"):
        raise ConfigError(
            f"{place}: the database {database} writes dates as {dates}: set datestyle to ISO for the server, the "
            "database and the role"
        )


def require_current(state: SchemaState, *, allows_newer: bool) -> None:
    """Raises ConfigError when the database is behind the code, or ahead of it and that is not allowed."""
    if state.missing:
        raise ConfigError(
            f"the database is behind this release, {_counted(state.missing)} missing: run `portolan migrate`"
        )
    if state.unknown and not allows_newer:
        raise ConfigError(
            f"the database was migrated by a newer release, {_counted(state.unknown)} unknown here: install that "
            "release, or set PORTOLAN_ALLOW_NEWER_DATABASE=true for as long as a rolling upgrade lasts"
        )


def schema_state(connection: psycopg.Connection[Any]) -> SchemaState:
    """How the database's migrations differ from those of the code; Django must be set up. Raises ConfigError when the
    database lets us see none of them."""
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
    """The names of a package's migrations. They are not imported: that takes long, and memory in each process."""
    spec = find_spec(f"{package}.migrations")
    folders = spec.submodule_search_locations if spec is not None else None
    return [module.name for module in pkgutil.iter_modules(folders or []) if not module.ispkg]


def _refuse_what_stays(error: psycopg.OperationalError, *, key: str) -> None:
    """Raises ConfigError when trying again would not help."""
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
