"""The bounded pool of threads for synchronous operations, so that the event loop never waits for a database or a disk.

One caller never has all threads: see `registry_core.http.fairness`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from django.db import OperationalError, connection

from registry_core.http import callers
from registry_core.http.fairness import Turns
from registry_core.machine.state import generations

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 12
SIGN_IN_THREADS = 64
KNOWN_TO_BE_AWAY_S = 0.5


@dataclass(frozen=True, slots=True)
class _Pool:
    threads: ThreadPoolExecutor
    turns: Turns

    @classmethod
    def of(cls, name: str, threads: int = THREADS) -> _Pool:
        return cls(ThreadPoolExecutor(threads, thread_name_prefix=name), Turns(threads))

    async def run(self, call: Callable[[], T]) -> T:
        caller = callers.current()
        await self.turns.enter(caller)
        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, call)
        finally:
            self.turns.leave(caller)


_operations = _Pool.of("operation")
# Separate from the operations, which must continue when the object store is slow.
_uploads = _Pool.of("upload")
# Nearly all of them wait for a turn to hash (`rbac.services.hashing` bounds how many, and for whom) and hold no
# connection.
_sign_ins = _Pool.of("sign-in", SIGN_IN_THREADS)


async def run(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run an operation in the pool; its database connection is then returned to the connection pool.

    Raises OperationalError at once during an outage of the database.
    """
    return await _run_in(_operations, function, *args, **kwargs)


async def run_upload(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """As `run`, for work that waits for the object store."""
    return await _run_in(_uploads, function, *args, **kwargs)


async def run_sign_in(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """As `run`, for work that may wait for a turn to hash a password."""
    return await _run_in(_sign_ins, function, *args, **kwargs)


async def _run_in(pool: _Pool, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    refuse_while_away()

    def call() -> T:
        try:
            return function(*args, **kwargs)
        finally:
            connection.close()

    return await pool.run(call)


def refuse_while_away() -> None:
    """Raises OperationalError during an outage of the database, so that nothing waits for it."""
    if generations().unreachable_for_s() > KNOWN_TO_BE_AWAY_S:
        raise OperationalError("the database does not answer")


async def run_plain_sign_in(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """As `run_plain`, for work that may wait for a turn to hash a password."""
    return await _sign_ins.run(lambda: function(*args, **kwargs))


async def run_plain(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run work without the database (a disk, a hash) in the pool."""
    return await _operations.run(lambda: function(*args, **kwargs))


async def run_store(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run work that waits for the object store, without the database."""
    return await _uploads.run(lambda: function(*args, **kwargs))
