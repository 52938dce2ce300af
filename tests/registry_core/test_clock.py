"""The clock: when periodic work runs."""

from __future__ import annotations

import itertools
import threading
import time

from registry_core.jobs.periodic import Periodic
from registry_core.wiring.clock import Clock
from tests.support.waiting import wait_until

EVERY_S = 1.0
TIMES = 3


def test_the_clock_sleeps_until_something_is_due() -> None:
    now_s, ran_s, pauses_s = 100.0, [], []
    clock = Clock([Periodic("often", lambda: None, EVERY_S)], now=lambda: now_s)
    for _ in range(TIMES):
        ran_s.append(now_s)
        pauses_s.append(clock.tick())
        now_s += pauses_s[-1]
    clock.stop()
    assert pauses_s == [EVERY_S] * TIMES
    assert [later - earlier for earlier, later in itertools.pairwise(ran_s)] == [EVERY_S] * (TIMES - 1)


def test_a_run_in_progress_is_not_repeated_and_is_completed_before_the_clock_ends() -> None:
    may_end, runs = threading.Event(), []

    def work() -> None:
        runs.append("began")
        may_end.wait(10)
        runs.append("ended")

    now_s = 0.0
    clock = Clock([Periodic("slow", work, EVERY_S)], now=lambda: now_s)
    clock.tick()
    wait_until(lambda: bool(runs), what="the work began")
    now_s = 5 * EVERY_S
    clock.tick()
    may_end.set()
    clock.stop()
    assert runs == ["began", "ended"]


def test_work_that_fails_runs_again() -> None:
    ran = []

    def work() -> None:
        ran.append(time.monotonic())
        raise ValueError("no luck")

    clock = Clock([Periodic("fails", work, 0.01)])
    thread = threading.Thread(target=clock.run)
    thread.start()
    wait_until(lambda: len(ran) >= TIMES, what="it ran several times")
    clock.stop()
    thread.join(10)
    assert not thread.is_alive()
