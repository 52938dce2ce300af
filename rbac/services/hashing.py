"""Where slow hashes are computed: a few at a time on the whole machine, and in fair turns.

Argon2 takes about 100 MiB and a core for a tenth of a second. All hashing goes through `turn`: checks of passwords and
new hashes, in every process. Callers wait in a lane (a client's network, or a subject), and the lanes take turns, so a
full lane does not delay another. The number of waiting callers is bounded per lane and in total. When the total is
reached, the owner of the most waiting callers loses its last one: a lane, or all lanes of one IPv6 customer, which may
have 65,536 networks (a /48, RFC 6177).
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import ipaddress
import math
import os
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from django.db import connection

from registry_core.access import TooManyAttempts
from registry_core.config import get_config
from registry_core.machine.durable import make_folder

WAITING_MAX: Final = 44
WAITING_MAX_EACH: Final = 20
WAIT_S: Final = 30.0
_LOOK_S: Final = 0.005


@contextmanager
def turn(lane: str, *, pace_s: float = 0.0) -> Iterator[None]:
    """Wait for a turn to hash. `pace_s`: the lane's next turn begins no sooner than so many seconds later.

    Raises TooManyAttempts if too many are waiting, or if no turn became free for too long.
    """
    if not connection.in_atomic_block:
        connection.close()  # return it to the pool while waiting
    with _queue().turn(lane, pace_s=pace_s), _machine().slot():
        yield


@dataclass(slots=True, eq=False)
class _Waiter:
    lane: str
    pace_s: float
    is_admitted: bool = False
    is_dropped: bool = False


@dataclass
class FairQueue:
    """Turns within this process: at most `at_once` at the same time, round-robin over the lanes."""

    at_once: int
    waiting_max: int = WAITING_MAX
    waiting_max_each: int = WAITING_MAX_EACH
    wait_s: float = WAIT_S
    clock: Callable[[], float] = time.monotonic
    _condition: threading.Condition = field(default_factory=threading.Condition)
    _lanes: OrderedDict[str, deque[_Waiter]] = field(default_factory=OrderedDict)
    _rests_until_s: dict[str, float] = field(default_factory=dict)
    _running: int = 0

    @contextmanager
    def turn(self, lane: str, *, pace_s: float = 0.0) -> Iterator[None]:
        """Wait for a turn. Raises TooManyAttempts."""
        with self._condition:
            waiter = self._entered(lane, pace_s)
            self._wait(waiter)
        try:
            yield
        finally:
            with self._condition:
                self._running -= 1
                self._admit()

    def _entered(self, lane: str, pace_s: float) -> _Waiter:
        waiting = self._lanes.get(lane, ())
        if len(waiting) >= self.waiting_max_each:
            raise TooManyAttempts(max(1, math.ceil(pace_s * len(waiting))))
        if sum(map(len, self._lanes.values())) >= self.waiting_max:
            self._make_room(_customer_of(lane))
        waiter = _Waiter(lane, pace_s)
        self._lanes.setdefault(lane, deque()).append(waiter)
        self._admit()
        return waiter

    def _make_room(self, customer: str) -> None:
        waiting = Counter[str]()
        for lane, waiters in self._lanes.items():
            waiting[_customer_of(lane)] += len(waiters)
        most, count = waiting.most_common(1)[0]
        if count <= waiting[customer] + 1:
            raise TooManyAttempts(1)
        theirs = (waiters for lane, waiters in self._lanes.items() if _customer_of(lane) == most)
        dropped = max(theirs, key=len).pop()
        dropped.is_dropped = True
        if not self._lanes[dropped.lane]:
            del self._lanes[dropped.lane]
        self._condition.notify_all()

    def _wait(self, waiter: _Waiter) -> None:
        until_s = self.clock() + self.wait_s
        while not waiter.is_admitted:
            now_s = self.clock()
            if waiter.is_dropped or now_s >= until_s:
                self._leave(waiter)
                raise TooManyAttempts(1)
            self._condition.wait(min([until_s, *self._rests_until_s.values()], default=until_s) - now_s)
            self._admit()

    def _leave(self, waiter: _Waiter) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._lanes[waiter.lane].remove(waiter)
            if not self._lanes[waiter.lane]:
                del self._lanes[waiter.lane]

    def _admit(self) -> None:
        now_s = self.clock()
        self._rests_until_s = {lane: end_s for lane, end_s in self._rests_until_s.items() if end_s > now_s}
        while self._running < self.at_once:
            lane = next((lane for lane in self._lanes if lane not in self._rests_until_s), None)
            if lane is None:
                return
            waiter = self._lanes[lane].popleft()
            self._lanes.move_to_end(lane)
            if not self._lanes[lane]:
                del self._lanes[lane]
            if waiter.pace_s:
                self._rests_until_s[lane] = now_s + waiter.pace_s
            waiter.is_admitted = True
            self._running += 1
            self._condition.notify_all()


def _customer_of(lane: str) -> str:
    """The owner of a lane: the /48 that contains a /64 network; any other lane is its own owner."""
    if not lane.endswith("/64"):
        return lane
    return str(ipaddress.IPv6Network(lane).supernet(new_prefix=48))


class MachineSlots:
    """A limited number of slots on this machine for all processes: each slot is a locked file, released when its
    process ends in any way.

    Only one waiter of the machine at a time looks for a slot (it locks the file `entry`), so that a process with many
    waiters cannot take back each slot that it has just released.
    """

    def __init__(self, folder: Path, *, slots: int, wait_s: float = WAIT_S) -> None:
        make_folder(folder)
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._entry = _opened(folder / "entry")
        self._free = [_opened(folder / str(number)) for number in range(slots)]

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a slot. Raises TooManyAttempts if none becomes free for too long."""
        until_s = time.monotonic() + self._wait_s
        with self._as_the_only_one(until_s):
            slot = _until(until_s, self._taken)
        try:
            yield
        finally:
            fcntl.flock(slot, fcntl.LOCK_UN)
            self._free.append(slot)

    @contextmanager
    def _as_the_only_one(self, until_s: float) -> Iterator[None]:
        if not self._lock.acquire(timeout=max(0.0, until_s - time.monotonic())):
            raise TooManyAttempts(1)
        try:
            _until(until_s, lambda: self._entry if _is_locked(self._entry) else None)
            try:
                yield
            finally:
                fcntl.flock(self._entry, fcntl.LOCK_UN)
        finally:
            self._lock.release()

    def _taken(self) -> int | None:
        """A locked slot. Slots that this process already holds are skipped, because their lock would be granted
        again."""
        for slot in list(self._free):
            if _is_locked(slot):
                self._free.remove(slot)
                return slot
        return None


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _until(until_s: float, take: Callable[[], int | None]) -> int:
    while (taken := take()) is None:
        if time.monotonic() >= until_s:
            raise TooManyAttempts(1)
        time.sleep(_LOOK_S)
    return taken


@functools.cache
def _queue() -> FairQueue:
    return FairQueue(at_once=get_config().password_hashes_at_once)


@functools.cache
def _machine() -> MachineSlots:
    config = get_config()
    return MachineSlots(config.run_dir / "hashing", slots=config.password_hashes_at_once)


def _forget() -> None:
    """A forked child shares open files and therefore locks, so it must open its own."""
    _queue.cache_clear()
    _machine.cache_clear()


os.register_at_fork(after_in_child=_forget)
