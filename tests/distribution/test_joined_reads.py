"""Reads that are joined: nobody gets an answer that is older than his question."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_core.distribution.joined_reads import KEYS_MAX, RUNNING_MAX, JoinedReads


async def _turns() -> None:
    """Let the event loop do all that needs neither a thread nor time."""
    for _ in range(10):
        await asyncio.sleep(0)


class Store:
    """Values that grow, and reads that take as long as they are let; each reads as it is when it begins."""

    def __init__(self) -> None:
        self.values: dict[int, int] = {}
        self.reads: list[list[int]] = []
        self.running = 0
        self.most_running = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def read(self, keys: list[int]) -> dict[int, int]:
        self.reads.append(keys)
        found = {key: self.values[key] for key in keys if key in self.values}
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.running -= 1
        if self.error:
            raise self.error
        return found


@given(st.lists(st.tuples(st.sampled_from(["ask", "grow", "wait"]), st.integers(0, 5)), max_size=60))
@settings(deadline=None)
def test_an_answer_is_as_new_as_its_question(steps: list[tuple[str, int]]) -> None:
    async def play() -> None:
        store = Store()
        reads = JoinedReads(store.read)
        asked: list[tuple[int, asyncio.Task[int | None]]] = []
        for what, key in steps:
            if what == "ask":
                asked.append((store.values.get(key, 0), asyncio.create_task(reads.get(key))))
                await asyncio.sleep(0)
            elif what == "grow":
                store.values[key] = store.values.get(key, 0) + 1
            else:
                await asyncio.sleep(0)
        for known, task in asked:
            assert (await task or 0) >= known
        assert store.most_running <= RUNNING_MAX

    asyncio.run(play())


def test_who_comes_while_others_are_answered_is_answered_with_all_who_came() -> None:
    async def play() -> list[list[int]]:
        store = Store()
        store.values = dict.fromkeys(range(200), 7)
        store.gate.clear()
        reads = JoinedReads(store.read)
        tasks = [asyncio.create_task(reads.get(number)) for number in range(100)]
        await _turns()
        tasks += [asyncio.create_task(reads.get(number)) for number in (1, 1, 1)]
        store.gate.set()
        assert await asyncio.gather(*tasks) == [7] * 103
        return store.reads

    found = asyncio.run(play())
    assert all(len(keys) <= KEYS_MAX for keys in found)
    assert len(found) <= RUNNING_MAX + 2
    assert sum(keys.count(1) for keys in found) == 2  # once, and once more for those who asked after it was begun


def test_a_read_that_fails_fails_for_those_who_waited_and_for_nobody_else() -> None:
    async def play() -> None:
        store = Store()
        store.values = {1: 7}
        store.error = psycopg.OperationalError("the server is away")
        reads = JoinedReads(store.read)
        both = await asyncio.gather(reads.get(1), reads.get(1), return_exceptions=True)
        assert list(both) == [store.error, store.error]
        store.error = None
        assert await reads.get(1) == 7
        assert await reads.get(2) is None

    asyncio.run(play())


def test_who_goes_away_takes_nobody_with_him() -> None:
    async def play() -> None:
        store = Store()
        store.values = {1: 7}
        store.gate.clear()
        reads = JoinedReads(store.read)
        leaving, staying = (asyncio.create_task(reads.get(1)) for _ in range(2))
        await _turns()
        leaving.cancel()
        store.gate.set()
        assert await staying == 7
        with pytest.raises(asyncio.CancelledError):
            await leaving

    asyncio.run(play())


@given(st.lists(st.integers(0, 4), min_size=4, max_size=4), st.integers(0, 3))
@settings(deadline=None)
def test_nobody_is_left_waiting_who_asks_when_the_last_read_ends(pauses: list[int], steps: int) -> None:
    async def play() -> None:
        async def read(keys: list[int]) -> dict[int, int]:
            for _ in range(steps):
                await asyncio.sleep(0)
            return dict.fromkeys(keys, 7)

        reads = JoinedReads(read)

        async def ask(key: int, pause: int) -> None:
            for _ in range(pause):
                await asyncio.sleep(0)
            assert await reads.get(key) == 7

        await asyncio.wait_for(asyncio.gather(*(ask(key, pause) for key, pause in enumerate(pauses))), 2)

    asyncio.run(play())
