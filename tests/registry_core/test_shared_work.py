"""Work that is shared: once for all who ask at the same time, anew for who asks after a change."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from registry_core.distribution.shared_work import SharedWork
from registry_core.machine.generations import Generations

TURNS = 10  # of the event loop, in which all that needs no thread and no time has happened


class Work:
    """Work that goes on until it is told to end, and counts how often it was begun."""

    def __init__(self, generations: Generations) -> None:
        self.generations = generations
        self.shared: SharedWork[int] = SharedWork()
        self.begun = 0
        self.end = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        await self.end.wait()
        if number == 3:
            raise PermissionError
        return number

    async def ask(self, key: str = "key") -> asyncio.Task[int]:
        """Ask, and go on once the work has begun."""
        asked = asyncio.create_task(self.shared.do(key, self, seen=self.generations.total()))
        for _ in range(TURNS):
            await asyncio.sleep(0)
        return asked


@pytest.fixture
def generations(tmp_path: Path) -> Generations:
    return Generations(tmp_path / "generations")


def test_those_who_ask_at_the_same_time_share_the_work(generations: Generations) -> None:
    async def ask() -> None:
        work = Work(generations)
        asked = [await work.ask(), await work.ask(), await work.ask("other")]
        work.end.set()
        assert await asyncio.gather(*asked) == [1, 1, 2]
        refused = [await work.ask("third"), await work.ask("fourth")]
        assert await refused[1] == 4
        with pytest.raises(PermissionError):
            await refused[0]

    asyncio.run(ask())


def test_whoever_asks_after_a_change_does_not_get_what_was_begun_before(generations: Generations) -> None:
    async def ask() -> None:
        work = Work(generations)
        before = await work.ask()
        with generations.changing(["somebody"]):
            amid = await work.ask()
        after = await work.ask("key")
        work.end.set()
        assert (await before, await amid, work.begun) == (1, 2, 3)
        with pytest.raises(PermissionError):
            await after

    asyncio.run(ask())


def test_who_leaves_does_not_take_the_work_from_the_others(generations: Generations) -> None:
    async def ask() -> None:
        work = Work(generations)
        first, second = await work.ask(), await work.ask()
        first.cancel()
        work.end.set()
        assert await second == 1

    asyncio.run(ask())
