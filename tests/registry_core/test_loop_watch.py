"""What holds up an event loop is noticed, what merely takes time is not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from registry_core.wiring.loop_watch import EVENT, LoopWatch

LIMIT_S = 0.05


def held_up_by(work: Coroutine[Any, Any, Any]) -> list[dict[str, Any]]:
    async def main() -> None:
        await LoopWatch(LIMIT_S).watched(work, "the work")

    with capture_logs() as lines:
        asyncio.run(main())
    return [dict(line) for line in lines if line["event"] == EVENT]


def test_a_call_that_waits_for_a_disk_or_a_lock_is_told_with_its_stack() -> None:
    async def blocks() -> None:
        time.sleep(0.5)  # noqa: ASYNC251 holding up is what this is about

    [told] = held_up_by(blocks())

    assert told["what"] == "the work"
    assert told["held_ms"] > LIMIT_S * 1000
    assert "in blocks" in told["stack"]


def test_a_long_computation_is_told() -> None:
    async def computes() -> None:
        until_s = time.thread_time() + 3 * LIMIT_S
        while time.thread_time() < until_s:
            sum(range(1000))

    assert len(held_up_by(computes())) == 1


def test_waiting_for_others_is_not_told() -> None:
    async def waits() -> None:
        for _ in range(4):
            await asyncio.sleep(2 * LIMIT_S)

    assert held_up_by(waits()) == []


def test_results_errors_and_cancellation_pass_through() -> None:
    async def gives() -> str:
        await asyncio.sleep(0)
        return "a result"

    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("an error")

    async def recovers() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "cancelled"
        return "not cancelled"

    async def main() -> None:
        watch = LoopWatch(LIMIT_S)

        async def watched(work: Coroutine[Any, Any, Any]) -> Any:
            return await watch.watched(work, "the work")

        assert await watched(gives()) == "a result"
        with pytest.raises(KeyError):
            await watched(fails())
        task = asyncio.create_task(watched(recovers()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        assert await task == "cancelled"

    asyncio.run(main())
