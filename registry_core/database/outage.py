"""An unreachable database: no request waits for it, whether it arrives during the outage or was already waiting.

A server that is stopped, or behind a network that drops packets, keeps its connections open and sends nothing, so a
statement would wait for ever, and with it its thread. Once an outage is detected (by
`registry_core.distribution.tail`), no connections are given out, and those in use are shut down.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg_pool import AsyncConnectionPool

from registry_core.machine.sockets import duplicate

REFUSE_AFTER_S: Final = 0.5
HANG_UP_AFTER_S: Final = 1.0
# For how long a pool tries to replace a connection, with pauses that double. After that the next request makes it try
# again: a more patient pool would still be pausing when the database is back.
RECONNECT_TIMEOUT_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.5

_in_use: set[Connection[Any] | AsyncConnection[Any]] = set()
_away_for_s: Callable[[], float] = lambda: 0.0  # noqa: E731 until there is somebody who follows it


class WatchedPool(AsyncConnectionPool[AsyncConnection[Any]]):
    """A pool whose connections are shut down during an outage."""

    async def getconn(self, timeout: float | None = None) -> AsyncConnection[Any]:  # noqa: ASYNC109 as it is there
        """As the pool's own."""
        connection = await super().getconn(timeout)
        _in_use.add(connection)
        return connection

    async def putconn(self, conn: AsyncConnection[Any]) -> None:
        """As the pool's own."""
        _in_use.discard(conn)
        await super().putconn(conn)


def lend(connection: Connection[Any]) -> None:
    """Record that a connection is in use."""
    _in_use.add(connection)


def give_back(connection: Connection[Any]) -> None:
    """Record that a connection is no longer in use."""
    _in_use.discard(connection)


def refuse_while_away() -> None:
    """Raises psycopg.OperationalError during an outage."""
    if _away_for_s() > REFUSE_AFTER_S:
        raise psycopg.OperationalError("the database does not answer")


async def watch(away_for_s: Callable[[], float]) -> None:
    """For ever: detect outages by `away_for_s`, and shut down the connections that wait for the database."""
    global _away_for_s
    _away_for_s = away_for_s
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        if away_for_s() > HANG_UP_AFTER_S:
            for connection in list(_in_use):
                hang_up(connection)


def hang_up(connection: Connection[Any] | AsyncConnection[Any]) -> None:
    """Shut down a connection, so that whatever waits for its answer fails. Cancelling would wait for the server
    itself."""
    with contextlib.suppress(OSError, psycopg.Error), duplicate(connection.fileno()) as same:
        same.shutdown(socket.SHUT_RDWR)
