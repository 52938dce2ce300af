"""Simultaneous reads, combined into one statement.

The round trip to Postgres costs more than the statement itself. So reads that arrive while others are in progress wait
for these and are then answered by one statement; a read that is alone does not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

RUNNING_MAX = 2
KEYS_MAX = 64


class JoinedReads(Generic[K, V]):
    """Reads by key. A key is read after it was requested, never by a statement that was already in progress: content
    that a client knows to exist is found."""

    def __init__(self, read: Callable[[list[K]], Awaitable[Mapping[K, V]]]) -> None:
        """`read` finds the values of up to KEYS_MAX keys; missing ones are left out."""
        self._read = read
        self._waiting: dict[K, asyncio.Future[V | None]] = {}
        self._running = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, key: K) -> V | None:
        """The value of `key`; None if there is none. Raises what the statement raised, for every waiting caller."""
        answer = self._waiting.get(key)
        if answer is None:
            answer = self._waiting[key] = asyncio.get_running_loop().create_future()
            if self._running < RUNNING_MAX:
                self._running += 1
                task = asyncio.create_task(self._read_until_none_waits())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(answer)

    async def _read_until_none_waits(self) -> None:
        try:
            await self._read_waiting()
        finally:
            # In the same step that found no waiting reads: a task is done one step later, and reads that arrive in
            # between would wait for a reader that has ended.
            self._running -= 1

    async def _read_waiting(self) -> None:
        while self._waiting:
            keys = list(self._waiting)[:KEYS_MAX]
            answers = {key: self._waiting.pop(key) for key in keys}
            try:
                found = await self._read(keys)
            except BaseException as error:
                _fail(answers.values(), error)
                if not isinstance(error, Exception):
                    raise
            else:
                for key, answer in answers.items():
                    answer.set_result(found.get(key))


def _fail(answers: Iterable[asyncio.Future[V | None]], error: BaseException) -> None:
    for answer in answers:
        if isinstance(error, asyncio.CancelledError):
            answer.cancel()
        else:
            answer.set_exception(error)
            answer.exception()  # the waiting caller may be gone
