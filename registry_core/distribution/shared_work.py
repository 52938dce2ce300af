"""Shares the result of a computation between simultaneous requests for the same.

Many clients that pull one image at once have the same credentials, and at first nothing is cached for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class SharedWork(Generic[V]):
    """Work by key. Nobody joins work that began before a change of its inputs: a request after a change sees the
    change."""

    def __init__(self) -> None:
        self._under_way: dict[tuple[object, object], asyncio.Task[V]] = {}

    async def do(self, key: object, work: Callable[[], Coroutine[Any, Any, V]], *, seen: object) -> V:
        """The result of `work`, or of the same work already in progress for another caller. Raises what it raises.

        `seen`: the current generations of its inputs.
        """
        at = (key, seen)
        task = self._under_way.get(at)
        if task is None:
            task = self._under_way[at] = asyncio.create_task(work())
            task.add_done_callback(lambda done: self._end(at, done))
        return await asyncio.shield(task)

    def _end(self, at: tuple[object, object], done: asyncio.Task[V]) -> None:
        del self._under_way[at]
        if not done.cancelled():
            done.exception()  # the waiting caller may be gone
