"""A database that answers nobody: no request waits for it, neither one that comes now nor one that asked it before.

A server that is stopped, or behind a network that swallows packets, keeps its connections open and says nothing, so
that a statement would wait for ever, and with it the thread that it runs in. Once it is known to be away
(`registry_core.distribution.tail` finds out), connections are given to nobody, and those in use are hung up.
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
# For how long a pool tries to replace a connection, with pauses that double. Afterwards the next request has it try
# anew: a pool that was patient would still pause when the database is back.
RECONNECT_TIMEOUT_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.5

_in_use: set[Connection[Any] | AsyncConnection[Any]] = set()
_away_for_s: Callable[[], float] = lambda: 0.0  # noqa: E731 until there is somebody who follows it


class WatchedPool(AsyncConnectionPool[AsyncConnection[Any]]):
    """A pool whose connections are hung up when the database is away."""

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
    """Note that a connection is being used."""
    _in_use.add(connection)


def give_back(connection: Connection[Any]) -> None:
    """Note that a connection is no longer used."""
    _in_use.discard(connection)


def refuse_while_away() -> None:
    """Raises psycopg.OperationalError while the database is known not to answer."""
    if _away_for_s() > REFUSE_AFTER_S:
        raise psycopg.OperationalError("the database does not answer")


async def watch(away_for_s: Callable[[], float]) -> None:
    """For ever: have `refuse_while_away` go by `away_for_s`, and hang up what waits for a database that is away."""
    global _away_for_s
    _away_for_s = away_for_s
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        if away_for_s() > HANG_UP_AFTER_S:
            for connection in list(_in_use):
                hang_up(connection)


def hang_up(connection: Connection[Any] | AsyncConnection[Any]) -> None:
    """End a connection from outside: what waits for its answer fails. Cancelling would wait for the server itself."""
    with contextlib.suppress(OSError, psycopg.Error), duplicate(connection.fileno()) as same:
        same.shutdown(socket.SHUT_RDWR)
