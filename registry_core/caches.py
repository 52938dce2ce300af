"""The bytes that the caches of a process share, what each cache reports, and a cache for pure functions.

A cache is declared where it is used, with its name and its share of the budget: an upper bound, so that one kind of
entry cannot push out all others. When the budget is used up, the entries that were used longest ago go, of whichever
cache.

`registry_core.caching.cache` has the cache for what can change; `cached` below is for results that never do.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
K = TypeVar("K")
E = TypeVar("E", bound="Entry")
DEFAULT_BYTES: Final = 128 << 20
SECOND_CHANCES: Final = 16
"""How many used entries are passed over, at the most, in looking for one that goes."""


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """What one cache holds now, how much it may hold, and its hits and misses since the process began."""

    name: str
    hits: int
    misses: int
    entries: int
    size_bytes: int
    bound_bytes: int


class Entry(Protocol):
    """What a budget has to know of an entry that it may let go."""

    is_used: bool
    """Since the entry was queued."""

    def drop(self) -> None:
        """Let the entry go. Called with the budget's lock held."""


class SharingCache(Protocol):
    """What a budget asks of the caches that share it."""

    name: str
    share: float

    def resized(self) -> None:
        """Adapt to another size of the budget. Called with its lock held."""

    def statistics(self) -> CacheStatistics:
        """The figures of now."""
        ...


class Budget:
    """The bytes that several caches may take together.

    `lock` protects the sizes and the order of all their entries; reading an entry takes no lock. `queue` has the
    entries that can go, the next one first.
    """

    def __init__(self, bound_bytes: int = DEFAULT_BYTES) -> None:
        self.bound_bytes = bound_bytes
        self.size_bytes = 0
        self.lock = threading.Lock()
        self.queue: OrderedDict[Entry, Entry] = OrderedDict()
        self._caches: dict[str, SharingCache] = {}

    def add(self, cache: SharingCache) -> None:
        """Let a cache share the budget. Raises ValueError when another one has its name."""
        if cache.name in self._caches:
            raise ValueError(f"there is a cache named {cache.name!r} already: give each one a name of its own")
        with self.lock:
            self._caches[cache.name] = cache
            cache.resized()

    def bound_of(self, cache: SharingCache) -> int:
        """The most bytes that the cache may take."""
        return int(self.bound_bytes * cache.share)

    def resize(self, bound_bytes: int) -> None:
        """Change how many bytes there are; what does not fit any longer goes."""
        with self.lock:
            self.bound_bytes = bound_bytes
            for cache in self._caches.values():
                cache.resized()
            self.make_room()

    def make_room(self) -> None:
        """Drop the entries that were used longest ago until the rest fits. Called with the lock held."""
        while self.size_bytes > self.bound_bytes and self.queue:
            next_out(self.queue).drop()

    def statistics(self) -> list[CacheStatistics]:
        """The figures of every cache."""
        return [cache.statistics() for cache in self._caches.values()]


def next_out(entries: OrderedDict[K, E]) -> E:
    """The entry that is to go next: the first that was not used since it was queued. The used ones before it go to the
    end, at most SECOND_CHANCES of them, so that nobody waits long."""
    for _ in range(SECOND_CHANCES):
        key, entry = next(iter(entries.items()))
        if not entry.is_used:
            return entry
        entry.is_used = False
        entries.move_to_end(key)
    return next(iter(entries.values()))


PROCESS: Final = Budget()
"""What the caches of this process share. Its size is the setting `cache_bytes`, from when Django has started."""


def statistics() -> list[CacheStatistics]:
    """The figures of every cache of this process."""
    return PROCESS.statistics()


def cached(
    name: str, *, share: float, entry_bytes: int, longest: int, budget: Budget = PROCESS
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Cache the results of a pure function of texts, the least recently used first out.

    An entry takes at most `entry_bytes`: texts longer than `longest` characters, and those beyond ASCII, whose
    characters may take four bytes, are computed each time. An error is not cached. What the results take is not given
    up for other caches, so the share should be small.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        cache = _FunctionCache(function, name, share, entry_bytes, budget)

        @functools.wraps(function)
        def call(*texts: Any) -> Any:
            text = texts[-1]  # the only one that a client makes up
            if len(text) > longest or not text.isascii():
                return function(*texts)  # type: ignore[call-arg]  # texts are all that it takes
            return cache.lookup(*texts)

        return call  # type: ignore[return-value]

    return decorate


class _FunctionCache:
    """The results of one function, in the standard library's cache, charged to a budget."""

    def __init__(self, function: Callable[..., Any], name: str, share: float, entry_bytes: int, budget: Budget) -> None:
        self.name = name
        self.share = share
        self._function = function
        self._entry_bytes = entry_bytes
        self._budget = budget
        self._size_bytes = 0
        budget.add(self)

    def resized(self) -> None:
        """Begin anew, with room for as many results as the bound allows."""
        self._budget.size_bytes -= self._size_bytes
        self._size_bytes = 0
        self._entries_max = self._budget.bound_of(self) // self._entry_bytes
        self.lookup = functools.lru_cache(maxsize=self._entries_max)(self._compute)

    def statistics(self) -> CacheStatistics:
        """The figures of now."""
        hits, misses, _, entries = self.lookup.cache_info()
        return CacheStatistics(
            self.name, hits, misses, entries, entries * self._entry_bytes, self._entries_max * self._entry_bytes
        )

    def _compute(self, *texts: Any) -> Any:
        result = self._function(*texts)
        if self._size_bytes < self._entries_max * self._entry_bytes:
            self._charge()
        return result

    def _charge(self) -> None:
        """Charge the results there are and the one that is about to be cached."""
        entries = min(self.lookup.cache_info().currsize + 1, self._entries_max)
        budget = self._budget
        with budget.lock:
            budget.size_bytes += entries * self._entry_bytes - self._size_bytes
            self._size_bytes = entries * self._entry_bytes
            budget.make_room()
