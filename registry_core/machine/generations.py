"""Generations: how every process of a machine knows whether its cache entries are still valid.

A file of counters that all processes map. Anything that can change (a repository's tags, a subject's permissions, a
project) has a slot by its key; a cache entry stores the slot's value and is valid only while the value stays the same.

A writer *marks* the slots before its commit and *bumps* them after the commit and before its answer. While a slot is
marked, no cache entry that depends on it may be used or stored; an entry whose read began before a bump has the old
value and is never valid. If a marking process dies, its mark is cleared by a bump. So a request that starts after a
change was answered sees the change.

A slot is one 64-bit word, read without a lock: the low 16 bits count the marks, the rest is the generation. Two keys in
one slot only cause needless misses.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import mmap
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from zlib import crc32

from registry_core.machine.durable import give_to_owner, make_folder

SLOTS = 1 << 16
MARKS = 4096
VERIFIED_FOR_NS = 1_000_000_000
FRESH_FOR_NS = 200_000_000
"""If the last check for changes of other machines is more recent than this, its use is not recorded."""
_MARK_MASK = 0xFFFF
_STEP = 1 << 16
_SLOT_BYTES = SLOTS * 8
_MARK_WORDS = 3  # pid, process start time, slot + 1 (0: free)
_TAIL_WORDS = 5
# Total, verified at, unreachable since (both CLOCK_MONOTONIC, nanoseconds), last transaction followed, whether the last
# check was used. Processes of an older release map all but the last: additions go to the end.
_ENDED = {"Z", "X"}  # proc_pid_stat(5): zombie, dead
_FILE_BYTES = _SLOT_BYTES + (MARKS * _MARK_WORDS + _TAIL_WORDS) * 8


def process_start_time(pid: int) -> int:
    """When process `pid` started, in clock ticks since boot; 0 if there is no such process, or if it is a zombie, which
    may stay for long if its parent does not collect the exit code."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] in _ENDED else int(fields[19])


@functools.cache
def _own_start_time(pid: int) -> int:
    """The start time of this process, whose number is `pid`: a forked child has another one."""
    return process_start_time(pid)


class Generations:
    """The counters of one data folder. Reading takes no lock; changing takes a file lock."""

    def __init__(self, path: Path) -> None:
        """Map the file at `path`, created if missing. Raises OSError, also if the disk has no room for it."""
        make_folder(path.parent)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        give_to_owner(path)
        _allocate(self._fd)
        self._map = mmap.mmap(self._fd, _FILE_BYTES)
        words = memoryview(self._map).cast("Q")
        self._slots = words[:SLOTS]
        self._marks = words[SLOTS:-_TAIL_WORDS]
        self._tail = words[-_TAIL_WORDS:]
        self._lock = threading.Lock()

    @staticmethod
    def slot(key: str) -> int:
        """The slot of a key such as `repository:12`."""
        return crc32(key.encode()) & (SLOTS - 1)

    def value(self, slot: int) -> int:
        """The slot's value; pass it to `are` together with what was read after it."""
        return self._slots[slot]

    def are(self, seen: Iterable[tuple[int, int]]) -> bool:
        """Whether each slot still has the value that was seen."""
        slots = self._slots
        for slot, value in seen:  # noqa: SIM110 all() makes a generator, and this is on the path of every pull
            if slots[slot] != value:
                return False
        return True

    def total(self) -> int:
        """The number of bumps and marks of all slots: if it is the same twice, nothing changed in between."""
        return self._tail[0]

    def is_verified(self) -> bool:
        """Whether the changes of other machines were checked within the last second."""
        age_ns = time.monotonic_ns() - self._tail[1]
        if age_ns > FRESH_FOR_NS:
            self._tail[4] = 1
        return age_ns < VERIFIED_FOR_NS

    def was_of_use(self) -> bool:
        """Whether any process called `is_verified` since this was last called, except shortly after a check."""
        used, self._tail[4] = self._tail[4], 0
        return bool(used)

    def unreachable_for_s(self) -> float:
        """For how many seconds the database has not answered the process that follows the changes; 0 while it does."""
        since_ns = self._tail[2]
        return (time.monotonic_ns() - since_ns) / 1e9 if since_ns else 0.0

    def last_followed(self) -> int:
        """The transaction before which every change of other machines has been followed here; 0: none was followed
        yet."""
        return self._tail[3]

    def followed(self, transaction: int) -> None:
        """Record that the changes up to a transaction have been followed."""
        self._tail[3] = transaction
        self._tail[1] = time.monotonic_ns()
        self._tail[2] = 0

    def reachable(self) -> None:
        """Record that the database answers, although no process follows the changes at the moment."""
        self._tail[2] = 0

    def unreachable(self) -> None:
        """Record that the database did not answer the process that follows the changes."""
        if self._tail[2] == 0:
            self._tail[2] = time.monotonic_ns()

    def is_clean(self, value: int) -> bool:
        """Whether a slot's value allows caching what is read after it."""
        return value & _MARK_MASK == 0

    def bump(self, keys: Iterable[str]) -> None:
        """Invalidate everything that is cached under `keys`, now."""
        with self._locked():
            for key in keys:
                self._slots[self.slot(key)] += _STEP
            self._tail[0] += 1

    @contextlib.contextmanager
    def changing(self, keys: Iterable[str]) -> Iterator[None]:
        """Mark `keys` while their rows change; bump them when the block ends, in any way."""
        slots = sorted({self.slot(key) for key in keys})
        entries = self._mark(slots)
        try:
            yield
        finally:
            self._clear(entries)

    def clear_dead(self) -> int:
        """Bump the slots whose marking process is dead; returns their number."""
        with self._locked():
            # Nearly all of them are free, and this runs every second.
            taken = [entry for entry, slot in enumerate(self._marks[2::_MARK_WORDS].tolist()) if slot]
            dead = [entry for entry in taken if self._is_dead(entry)]
            for entry in dead:
                self._release(entry)
        return len(dead)

    def _mark(self, slots: list[int]) -> list[int]:
        pid = os.getpid()
        started = _own_start_time(pid)
        with self._locked():
            free = list(itertools.islice(self._free_entries(pid), len(slots)))
            if len(free) < len(slots):
                raise RuntimeError("the generation file has no room for more marks: too many writers at once")
            for entry, slot in zip(free, slots, strict=True):
                base = entry * _MARK_WORDS
                self._marks[base], self._marks[base + 1], self._marks[base + 2] = pid, started, slot + 1
                self._slots[slot] += 1
            self._tail[0] += 1
        return free

    def _free_entries(self, pid: int) -> Iterator[int]:
        # Each process starts at a place of its own, so that it seldom walks over the marks of others.
        for step in range(MARKS):
            entry = (pid * 64 + step) % MARKS
            if self._marks[entry * _MARK_WORDS + 2] == 0:
                yield entry

    def _clear(self, entries: list[int]) -> None:
        with self._locked():
            for entry in entries:
                self._release(entry)

    def _release(self, entry: int) -> None:
        base = entry * _MARK_WORDS
        slot = self._marks[base + 2] - 1
        # A process that was killed between writing its mark and counting it leaves a mark that was never counted.
        self._slots[slot] += _STEP - 1 if self._slots[slot] & _MARK_MASK else _STEP
        self._marks[base + 2] = 0
        self._tail[0] += 1

    def _is_dead(self, entry: int) -> bool:
        base = entry * _MARK_WORDS
        started = process_start_time(self._marks[base])
        return started == 0 or started != self._marks[base + 1]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            fcntl.lockf(self._fd, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._fd, fcntl.LOCK_UN)


def _allocate(descriptor: int) -> None:
    """Have the disk reserve room for the whole file: writing to a mapped page without room kills the process."""
    if sys.platform == "linux":
        os.posix_fallocate(descriptor, 0, _FILE_BYTES)  # does not change existing content
    os.ftruncate(descriptor, max(_FILE_BYTES, os.fstat(descriptor).st_size))
