"""Django's PostgreSQL engine, but for how a pooled connection is looked at before it is used."""

from __future__ import annotations

import select
from typing import Any

from django.db.backends.postgresql import base
from psycopg import Connection, Error
from psycopg_pool import ConnectionPool

from registry_core.database import outage


class DatabaseWrapper(base.DatabaseWrapper):
    """The engine for settings in which the pool itself does not look (CONN_HEALTH_CHECKS off)."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """A connection that has not ended with its server; the pool replaces those that have.

        Raises PoolTimeout, and psycopg.OperationalError at once while the database is known to be away.
        """
        outage.refuse_while_away()
        connection = super().get_new_connection(conn_params)
        while self.pool and not is_alive(connection):
            connection.close()
            self.pool.putconn(connection)
            connection = super().get_new_connection(conn_params)
        outage.lend(connection)
        return connection

    def _close(self) -> None:
        if self.connection is not None:
            outage.give_back(self.connection)
        super()._close()  # type: ignore[misc]  # the stubs leave it out


def is_alive(connection: Connection[Any]) -> bool:
    """Whether an idle connection can be used, without asking the server each time.

    A server that ends says so, and closes: until then there is nothing to read. What there is to read may also be a
    notice, so only then it is asked.
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
