"""Django's PostgreSQL engine, with another check of pooled connections before use, and a second pool whose statements
have a time limit."""

from __future__ import annotations

import select
from functools import partial
from typing import Any, ClassVar, Final

from django.db.backends.postgresql import base
from psycopg import Connection, Error
from psycopg_pool import ConnectionPool

from registry_core.database import outage
from registry_core.logs import get_logger

# A pooler such as PgBouncer gives its clients made-up process ids, because they have no server process of their own.
_CONFIGURE: Final = "SELECT pg_backend_pid(), set_config('plan_cache_mode', 'force_generic_plan', false)"
_LIMIT: Final = "SELECT set_config('statement_timeout', %s, false) WHERE pg_backend_pid() = %s"
_log = get_logger("portolan.database")


class DatabaseWrapper(base.DatabaseWrapper):
    """The engine for settings in which the pool does not check connections itself (CONN_HEALTH_CHECKS off).

    While `statement_limit_ms` is set, connections come from a pool of their own, in which Postgres cancels a statement
    after so many milliseconds. The limit is set once for each of these connections. The value is the same for the life
    of the process.
    """

    statement_limit_ms = 0
    is_behind_pooler: ClassVar[bool | None] = None
    """Whether a pooler answers in place of Postgres, though the configuration names none. Its connections are lent to
    several clients, so no limit is set for them. None until the first connection is opened."""

    @property
    def pool(self) -> Any:
        """The pool of the next connection, a ConnectionPool; None if the settings have none."""
        unlimited = super().pool
        return self._limited_pool() if unlimited and self.statement_limit_ms else unlimited

    def close_pool(self) -> None:
        """Close both pools."""
        super().close_pool()
        limited = self._pools.pop(self._limited_alias, None)
        if limited:
            limited.close()

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """A connection whose server is alive; the pool replaces dead ones.

        Raises PoolTimeout, and psycopg.OperationalError at once while the database is known to be unreachable.
        """
        outage.refuse_while_away()
        connection = super().get_new_connection(conn_params)
        while self.pool and not is_alive(connection):
            connection.close()
            self.pool.putconn(connection)
            connection = super().get_new_connection(conn_params)
        outage.lend(connection)
        return connection

    def _configure_connection(self, connection: Connection[Any]) -> bool:
        """As Django's own, for a connection that the pool has opened."""
        is_to_commit: bool = super()._configure_connection(connection)  # type: ignore[misc]  # the stubs leave it out
        if connection.prepare_threshold is not None:
            # Prepared statements find rows by key, whatever the values. By default Postgres plans many of them again
            # each time, because it overestimates arrays of unknown length. Set by a statement: poolers refuse it as an
            # option of the connection.
            row = connection.execute(_CONFIGURE).fetchone()
            _note_pooler(row is not None and row[0] != connection.info.backend_pid)
        return is_to_commit

    def _configure_limited(self, connection: Connection[Any], *, limit_ms: int) -> None:
        """As `_configure_connection`, and with the limit, unless a pooler would pass it on to other clients."""
        self._configure_connection(connection)
        connection.execute(_LIMIT, [str(limit_ms), connection.info.backend_pid])

    @property
    def _pools(self) -> dict[str, ConnectionPool[Any]]:
        """The pools of the process, by name; Django's own table."""
        return self._connection_pools  # type: ignore[attr-defined, no-any-return]

    @property
    def _limited_alias(self) -> str:
        return f"{self.alias} with a limit"

    def _limited_pool(self) -> ConnectionPool[Any]:
        """Keeps no connection while nothing is read."""
        pools = self._pools
        if self._limited_alias not in pools:
            made = ConnectionPool(
                kwargs=self.get_connection_params() | {"autocommit": True},
                open=False,
                configure=partial(self._configure_limited, limit_ms=self.statement_limit_ms),
                **self.settings_dict["OPTIONS"]["pool"] | {"min_size": 0},
            )
            pools.setdefault(self._limited_alias, made)
        return pools[self._limited_alias]

    def _close(self) -> None:
        if self.connection is not None:
            outage.give_back(self.connection)
        super()._close()  # type: ignore[misc]  # the stubs leave it out


def _note_pooler(is_pooler: bool) -> None:
    if not is_pooler:
        DatabaseWrapper.is_behind_pooler = bool(DatabaseWrapper.is_behind_pooler)
    elif not DatabaseWrapper.is_behind_pooler:
        DatabaseWrapper.is_behind_pooler = True
        _log.warning(
            "a connection pooler answers at database_url: set database_direct_url to the database itself, or "
            "changes reach other machines late and prepared statements may fail"
        )


def is_alive(connection: Connection[Any]) -> bool:
    """Whether an idle connection can be used, without a round trip in the usual case.

    A server that terminates sends a message and closes the connection: until then there is nothing to read. Something
    to read may also be a notice, so only then the server is asked.
    """
    readable = select.poll()
    readable.register(connection.fileno(), select.POLLIN | select.POLLRDHUP)
    if not readable.poll(0):
        return True
    try:
        ConnectionPool.check_connection(connection)
    except Error:
        return False
    return True
