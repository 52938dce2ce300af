"""Finds what blocks the event loop: a mode for tests and for diagnosing a slow server, off by default.

Every request and every background task of a worker runs in steps, from one `await` to the next. During a step no other
request is served, so a step that waits for a disk, a lock or a database, or computes for long, is logged with its
stack.

A busy machine must not be mistaken for that. What counts is the processor time of the step, or the time for which it
kept waiting although a second thread was scheduled all the while; not the time for which the kernel ran others.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
import types
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any, TypeVar

import structlog

T = TypeVar("T")
TICK_S = 0.005
EVENT = "the event loop was held up"
_log = structlog.get_logger(__name__)


class LoopWatch:
    """Measures the steps of one event loop's thread, and logs those longer than `limit_s`."""

    def __init__(self, limit_s: float) -> None:
        """Call it in the thread of the event loop."""
        self._limit_s = limit_s
        self._thread_id = threading.get_ident()
        self._schedule = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._ticks = 0
        self._step = 0
        self._is_running = False
        self._stack: list[str] = []
        threading.Thread(target=self._watch, name="loop-watch", daemon=True).start()

    @types.coroutine
    def watched(self, coroutine: Coroutine[Any, Any, T], what: str) -> Generator[Any, Any, T]:
        """Await `coroutine`, timing each of its steps."""
        outcome: Any = None
        proceed: Any = coroutine.send
        while True:
            with self._timed(what):
                try:
                    awaited = proceed(outcome)
                except StopIteration as done:
                    result: T = done.value
                    return result
            try:
                outcome, proceed = (yield awaited), coroutine.send
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                outcome, proceed = error, coroutine.throw

    @contextlib.contextmanager
    def _timed(self, what: str) -> Generator[None]:
        self._begin()
        began_s, processor_s, waited_s = time.monotonic(), time.thread_time(), self._others_ran_s()
        try:
            yield
        finally:
            self._is_running = False
            computed_s = time.thread_time() - processor_s
            lasted_s = time.monotonic() - began_s - (self._others_ran_s() - waited_s)
            held_s = max(computed_s, min(lasted_s, self._ticks * TICK_S))
            if held_s > self._limit_s:
                stack = "".join(self._stack)
                _log.warning(EVENT, what=what, held_ms=round(held_s * 1000), stack=stack)

    def _begin(self) -> None:
        self._ticks = 0
        self._step += 1
        self._stack = []
        self._is_running = True

    def _others_ran_s(self) -> float:
        """For how long the thread could have run while the kernel ran others."""
        try:
            return int(self._schedule.read_text().split()[1]) / 1e9
        except (OSError, IndexError):
            return 0.0

    def _watch(self) -> None:
        while True:
            step = self._step
            time.sleep(TICK_S)
            if not self._is_running or step != self._step:
                continue
            self._ticks += 1
            if not self._stack and self._ticks * TICK_S > self._limit_s / 2:
                frame = sys._current_frames().get(self._thread_id)
                self._stack = traceback.format_stack(frame)[-12:] if frame else []
