"""The tail: what other machines changed, followed by one process of this machine and told to all of them.

Every change writes an event with the generations that it makes stale, in its own transaction. The tail reads the
events of the transactions that it may not have seen and bumps those generations here; each time it also says that it
looked, so that a process whose tail is cut off notices within a second and no longer trusts what it remembers. Only
when nobody gets an answer from the database is it said to be away, and what is remembered is all that there is.

How often it looks depends on whether there is anybody to look for. Each tail holds a shared advisory lock for as long
as its connection lives, so that the others see it; one that has seen no other for a while looks seldom, and often again
as soon as there is another.

Ids are not commit order. A poll reads from the oldest transaction that was still running at the poll before; what is
read twice is recognised by its id.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from registry_core.generations import Generations
from registry_core.logs import redact_text

POLL_S = 0.025
# Well below the second within which a revocation acts on every machine, and after which nothing counts as verified.
ALONE_POLL_S = 0.25
# A machine whose connection is cut for a moment is still there.
ALONE_AFTER_S = 10.0
RETRY_S = 0.2
CONNECT_TIMEOUT_S = 0.8
STATEMENT_TIMEOUT_S = 0.5
# Generous: a busy database that is taken for one that is away lets stale answers out.
ANSWER_WITHIN_S = 1.0
APPLICATION_NAME = "portolan tail"
# Names the lock in pg_locks, where nothing else of Portolan has this class.
_LOCK_CLASS, _LOCK_OBJECT = 0x706F7274, 1
_log = structlog.get_logger(__name__)

_JOIN = "SELECT pg_advisory_lock_shared(%s, %s)"
_HAS_COMPANY = """
    SELECT count(*) > 1 FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
    WHERE locktype = 'advisory' AND datname = current_database() AND classid = %s AND objid = %s
"""
# The upper bound leaves nothing out, since no visible row has a later transaction. Without it Postgres, which keeps no
# statistics about transactions, expects a third of the table and reads all of it, forty times a second.
_POLL = """
    WITH edge AS (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS oldest)
    SELECT edge.oldest::text::bigint, event.id, event.changed
    FROM edge LEFT JOIN events_event AS event ON event.xact >= %s::text::xid8 AND event.origin <> %s
         AND event.xact < pg_snapshot_xmax(pg_current_snapshot())
"""


class Tail:
    """Follows the changes while this process is the one of its machine that does."""

    def __init__(
        self,
        *,
        database_url: str,
        pool: AsyncConnectionPool[Any],
        generations: Generations,
        machine: str,
        lock: Path,
    ) -> None:
        """`pool` is asked whether the database answers others when it does not answer the tail's own connection."""
        self._database_url = database_url
        self._pool = pool
        self._generations = generations
        self._machine = machine
        self._lock = lock
        self._seen: set[int] = set()
        self._in_company_until_s = 0.0
        self._looked_for_company_s = 0.0

    async def run(self) -> None:
        """Follow for ever; until this process's turn comes, wait for it."""
        while True:
            with self._turn() as is_ours:
                if is_ours:
                    await self._follow()
            await asyncio.sleep(RETRY_S)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[bool]:
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        finally:
            os.close(fd)

    async def _follow(self) -> None:
        is_reachable = True
        while True:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    connection = await psycopg.AsyncConnection.connect(
                        self._database_url, autocommit=True, application_name=APPLICATION_NAME
                    )
                async with connection:
                    is_reachable = True
                    await self._poll_for_ever(connection)
            except (psycopg.Error, OSError, TimeoutError) as error:
                if await self._answers_others():
                    self._generations.reachable()
                    _log.warning("changes cannot be followed just now", reason=redact_text(str(error)))
                else:
                    self._generations.unreachable()
                    if is_reachable:
                        _log.warning("the database does not answer", reason=redact_text(str(error)))
                    is_reachable = False
            await asyncio.sleep(RETRY_S)

    async def _answers_others(self) -> bool:
        try:
            async with self._pool.connection(timeout=ANSWER_WITHIN_S) as connection:
                with _hung_up_after(ANSWER_WITHIN_S, connection):
                    await connection.execute("SELECT 1")
        except (psycopg.Error, OSError):
            return False
        return True

    async def _poll_for_ever(self, connection: psycopg.AsyncConnection[Any]) -> None:
        with _hung_up_after(STATEMENT_TIMEOUT_S, connection):
            await connection.execute(_JOIN, [_LOCK_CLASS, _LOCK_OBJECT])
        self._in_company_until_s = time.monotonic() + ALONE_AFTER_S
        while True:
            with _hung_up_after(STATEMENT_TIMEOUT_S, connection):
                await self._poll(connection)
                await self._look_for_company(connection)
            is_alone = time.monotonic() > self._in_company_until_s
            await asyncio.sleep(ALONE_POLL_S if is_alone else POLL_S)

    async def _look_for_company(self, connection: psycopg.AsyncConnection[Any]) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_for_company_s < ALONE_POLL_S:
            return
        self._looked_for_company_s = now_s
        cursor = await connection.execute(_HAS_COMPANY, [_LOCK_CLASS, _LOCK_OBJECT])
        if (await cursor.fetchone() or [True])[0]:
            self._in_company_until_s = now_s + ALONE_AFTER_S

    async def _poll(self, connection: psycopg.AsyncConnection[Any]) -> None:
        since = self._generations.last_followed()
        if since == 0:
            # Nothing can be remembered from before the first poll: begin with now.
            cursor = await connection.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            self._generations.followed((await cursor.fetchone() or [0])[0])
            return
        cursor = await connection.execute(_POLL, [str(since), self._machine])
        rows = await cursor.fetchall()
        events = {event_id: changed for _, event_id, changed in rows if event_id is not None}
        fresh = [key for event_id, changed in events.items() if event_id not in self._seen for key in changed]
        if fresh:
            self._generations.bump(fresh)
        self._seen = set(events)
        self._generations.followed(rows[0][0])


@contextlib.contextmanager
def _hung_up_after(seconds: float, connection: psycopg.AsyncConnection[Any]) -> Iterator[None]:
    """End the connection when the block takes longer, which makes what waits for it fail.

    Cancelling would not do: psycopg then waits for the server's answer, which may never come.
    """
    timer = asyncio.get_running_loop().call_later(seconds, _hang_up, connection)
    try:
        yield
    finally:
        timer.cancel()


def _hang_up(connection: psycopg.AsyncConnection[Any]) -> None:
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)
