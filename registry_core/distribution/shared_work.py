"""What several requests want to know at the same time, found out once for all of them.

A crowd of clients that pulls one image comes with the same credentials, and nothing about them is cached at first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class SharedWork(Generic[V]):
    """Work by key. Nobody joins what began before a change of what it looks at: whoever asks after a change sees it."""

    def __init__(self) -> None:
        self._under_way: dict[tuple[object, object], asyncio.Task[V]] = {}

    async def do(self, key: object, work: Callable[[], Coroutine[Any, Any, V]], *, seen: object) -> V:
        """What `work` returns, or what it returns to somebody who asks for the same just now. Raises what it raises.

        `seen`: the generations of what it looks at, as they are now.
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
            done.exception()  # whoever waited may be gone
