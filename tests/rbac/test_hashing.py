"""Slow hashes: few at once on the machine, in fair turns, bounded in number and memory."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbac.services.hashing import FairQueue, MachineSlots
from registry_core.access import TooManyAttempts
from tests.support.waiting import wait_until


class Crowd:
    """Callers of a queue, each in a thread; what they do when it is their turn is noted, in order."""

    def __init__(self, queue: FairQueue) -> None:
        self.queue = queue
        self.order: list[str] = []
        self._pool = ThreadPoolExecutor(100)
        self.futures: list[Future[None]] = []

    def come(self, lane: str, *, pace_s: float = 0.0) -> Future[None]:
        def wait() -> None:
            with self.queue.turn(lane, pace_s=pace_s):
                self.order.append(lane)

        before = self._present()
        future = self._pool.submit(wait)
        self.futures.append(future)
        wait_until(lambda: self._present() != before or future.done(), what="the caller is there")
        return future

    def _present(self) -> tuple[dict[str, int], int, int]:
        with self.queue._condition:
            waiting = {lane: len(waiters) for lane, waiters in self.queue._lanes.items()}
            return waiting, self.queue._running, len(self.order)

    def close(self) -> None:
        self._pool.shutdown()


@contextmanager
def busy(queue: FairQueue) -> Iterator[None]:
    """While the block runs, nobody gets a turn."""
    may_end, has_begun = threading.Event(), threading.Semaphore(0)

    def hold() -> None:
        with queue.turn("holder"):
            has_begun.release()
            may_end.wait(60)

    with ThreadPoolExecutor(queue.at_once) as pool:
        holders = [pool.submit(hold) for _ in range(queue.at_once)]
        for _ in holders:
            has_begun.acquire(timeout=60)
        yield
        may_end.set()


def test_lanes_take_turns_however_long_one_is() -> None:
    queue = FairQueue(at_once=1)
    crowd = Crowd(queue)
    with busy(queue):
        for _ in range(10):
            crowd.come("guesser")
        for lane in ("anna", "bob"):
            crowd.come(lane)
    crowd.close()
    assert set(crowd.order[:3]) == {"guesser", "anna", "bob"}
    assert len(crowd.order) == 12


def test_a_lane_that_is_full_refuses_its_own_and_nobody_else() -> None:
    queue = FairQueue(at_once=1, waiting_max=6, waiting_max_each=4)
    crowd = Crowd(queue)
    with busy(queue):
        for _ in range(4):
            crowd.come("guesser")
        assert isinstance(crowd.come("guesser").exception(timeout=5), TooManyAttempts)
        crowd.come("anna")
    crowd.close()
    assert sorted(crowd.order) == ["anna", "guesser", "guesser", "guesser", "guesser"]


def test_when_all_is_full_the_longest_lane_loses_its_last() -> None:
    queue = FairQueue(at_once=1, waiting_max=6, waiting_max_each=6)
    crowd = Crowd(queue)
    with busy(queue):
        guesses = [crowd.come("guesser") for _ in range(6)]
        crowd.come("anna")
        assert isinstance(guesses[-1].exception(timeout=5), TooManyAttempts)
    crowd.close()
    assert crowd.order.count("anna") == 1
    assert crowd.order.count("guesser") == 5


def test_one_customer_with_many_networks_keeps_nobody_out() -> None:
    queue = FairQueue(at_once=1, waiting_max=6, waiting_max_each=6)
    crowd = Crowd(queue)
    with busy(queue):
        guesses = [crowd.come(f"2001:db8:0:{number:x}::/64") for number in range(6)]
        crowd.come("2001:db8:1::/64")
        crowd.come("192.0.2.1")
        wait_until(lambda: sum(guess.done() for guess in guesses) == 2, what="two of the many lose their places")
        again = crowd.come("2001:db8:0:ffff::/64")
        assert isinstance(again.exception(timeout=5), TooManyAttempts)
    crowd.close()
    assert {"2001:db8:1::/64", "192.0.2.1"} < set(crowd.order)
    assert len(crowd.order) == 6


def test_a_paced_lane_rests_between_its_turns_and_holds_up_no_other() -> None:
    queue = FairQueue(at_once=4)
    crowd = Crowd(queue)
    guesses = [crowd.come("guesser", pace_s=0.4) for _ in range(3)]
    crowd.come("anna").result(timeout=5)
    assert crowd.order[:2] == ["guesser", "anna"]
    assert not guesses[1].done()
    guesses[2].result(timeout=10)
    crowd.close()


def test_who_waits_too_long_is_told_to_come_back() -> None:
    queue = FairQueue(at_once=1, wait_s=0.05)
    with busy(queue), pytest.raises(TooManyAttempts), queue.turn("anna"):
        pytest.fail("let in beside the holder")
    with queue.turn("anna"):
        pass


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("abcdef"), max_size=40), st.integers(1, 3), st.integers(1, 8), st.integers(1, 12))
def test_nobody_is_lost_and_no_turn_is_given_twice(lanes: list[str], at_once: int, each: int, most: int) -> None:
    queue = FairQueue(at_once=at_once, waiting_max=most, waiting_max_each=each, wait_s=30)
    inside, most_inside, lock = 0, 0, threading.Lock()

    def come(lane: str) -> bool:
        nonlocal inside, most_inside
        try:
            with queue.turn(lane):
                with lock:
                    inside += 1
                    most_inside = max(most_inside, inside)
                with lock:
                    inside -= 1
        except TooManyAttempts:
            return False
        return True

    with ThreadPoolExecutor(max(1, len(lanes))) as pool:
        list(pool.map(come, lanes))
    assert most_inside <= at_once
    assert (queue._running, dict(queue._lanes)) == (0, {})


_HOLDER = """
import sys
from pathlib import Path
from rbac.services.hashing import MachineSlots
with MachineSlots(Path(sys.argv[1]), slots=int(sys.argv[2])).slot():
    print("held", flush=True)
    sys.stdin.readline()
"""


def holder(folder: Path, slots: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", f"import django; django.setup()\n{_HOLDER}", str(folder), str(slots)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_slots_of_a_machine_are_shared_by_its_processes_and_free_when_one_is_killed(tmp_path: Path) -> None:
    others = [holder(tmp_path, 2) for _ in range(2)]
    slots = MachineSlots(tmp_path, slots=2, wait_s=0.1)
    try:
        with pytest.raises(TooManyAttempts), slots.slot():
            pytest.fail("a third at once")
        others[0].kill()
        others[0].wait()
        with slots.slot(), pytest.raises(TooManyAttempts), slots.slot():
            pytest.fail("a third at once")
        with slots.slot():
            pass
    finally:
        for process in others:
            process.kill()
            process.wait()
