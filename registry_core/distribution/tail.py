"""The tail: what other machines changed, followed by one process of this machine and told to all of them.

Every change writes an event with the generations that it makes stale, in its own transaction. The tail reads the
events of the transactions that it may not have seen and bumps those generations here; each time it also says that it
looked, so that a process whose tail is cut off notices within a second and no longer trusts its caches. Only
when nobody gets an answer from the database is it said to be away, and the caches are all that there is.

It looks when another machine's bell rings (`registry_core.events.bell`), four times a second while somebody uses what
is remembered here, and once a second at rest: then the first request may find that too old, and asks the database.
Where bells cannot be heard, as behind a transaction pooler, it looks as often and no more.

Ids are not commit order. A poll reads from the oldest transaction that was still running at the poll before; what is
read twice is recognised by its id.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from registry_core.database.outage import hang_up
from registry_core.events.bell import CHANNEL
from registry_core.logs import redact_text
from registry_core.machine.generations import Generations

POLL_S = 0.025
# Well below the second within which a revocation acts on every machine, and after which nothing counts as verified.
IN_USE_POLL_S = 0.25
AT_REST_POLL_S = 1.0
HEARD_WITHIN_S = 1.0
RETRY_S = 0.2
CONNECT_TIMEOUT_S = 0.8
STATEMENT_TIMEOUT_S = 0.5
# Generous: a busy database that is taken for one that is away lets stale answers out.
ANSWER_WITHIN_S = 1.0
APPLICATION_NAME = "portolan tail"
_log = structlog.get_logger(__name__)

# The upper bound leaves nothing out, since no visible row has a later transaction. Without it Postgres, which keeps no
# statistics about transactions, expects a third of the table and reads all of it, many times a second.
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
        self._hears_bells = False

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
        with _hung_up_after(STATEMENT_TIMEOUT_S + HEARD_WITHIN_S, connection):
            self._hears_bells = await self._listen(connection)
        while True:
            begin_s = time.monotonic()
            with _hung_up_after(STATEMENT_TIMEOUT_S, connection):
                await self._poll(connection)
            await self._pause(connection, self._generations.was_of_use())
            await asyncio.sleep(begin_s + POLL_S - time.monotonic())

    async def _listen(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        """Listen for bells; whether they can be heard, which is tried out."""
        mark = uuid.uuid4().hex
        await connection.execute(f"LISTEN {CHANNEL}")
        await connection.execute("SELECT pg_notify(%s, %s)", [CHANNEL, mark])
        async with contextlib.aclosing(connection.notifies(timeout=HEARD_WITHIN_S)) as bells:
            async for heard in bells:
                if heard.payload == mark:
                    return True
        _log.warning("changes of other machines cannot be listened for: set PORTOLAN_DATABASE_DIRECT_URL")
        return False

    async def _pause(self, connection: psycopg.AsyncConnection[Any], is_in_use: bool) -> None:
        """Wait until another machine's bell rings, or it is time to look anyway."""
        pause_s = IN_USE_POLL_S if is_in_use else AT_REST_POLL_S
        if not self._hears_bells:
            await asyncio.sleep(pause_s)
            return
        async with contextlib.aclosing(connection.notifies(timeout=pause_s)) as bells:
            async for heard in bells:
                if heard.payload != self._machine:
                    return

    async def _poll(self, connection: psycopg.AsyncConnection[Any]) -> None:
        since = self._generations.last_followed()
        if since == 0:
            # Nothing can be cached from before the first poll: begin with now.
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
    timer = asyncio.get_running_loop().call_later(seconds, hang_up, connection)
    try:
        yield
    finally:
        timer.cancel()
