"""What many requests want to read at the same time, read by one statement.

A statement costs more on its way to Postgres and back than in it. So whoever asks while others are being answered
waits for them and is then answered together with all who came meanwhile; whoever is alone does not wait.
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
    """Reads by key. A key is read after it was asked for, never by a statement that was on its way already: what a
    client knows to be there is found."""

    def __init__(self, read: Callable[[list[K]], Awaitable[Mapping[K, V]]]) -> None:
        """`read` finds the values of up to KEYS_MAX keys; what is not there it leaves out."""
        self._read = read
        self._waiting: dict[K, asyncio.Future[V | None]] = {}
        self._running = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, key: K) -> V | None:
        """The value of `key`; None when there is none. Raises what the statement raised, for all who waited for it."""
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
            # In the step that found nobody waiting: a task is done a step later, and who asked in between would wait
            # for readers that have gone.
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
            answer.exception()  # whoever waited may be gone
