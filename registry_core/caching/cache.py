"""The cache for what can change: a value is good while the generations that it was read under stay the same.

Generations are looked at *before* what they stand for is read: a value that was read while it changed carries the old
generation, and is never taken for a fresh one (`registry_core.machine.generations`). `read_through` does that in the
right order. `begin` and `put` are for those who learn only while reading what the value depends on.

Threads and the event loop share a cache. A hit takes no lock: it reads one dictionary and notes the use in the entry;
entries change places only when room is needed (second chance: a used entry is passed over once).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from time import monotonic
from typing import Final, Generic, TypeVar, overload

from registry_core.caches import PROCESS, Budget, CacheStatistics, next_out
from registry_core.machine import state
from registry_core.machine.generations import Generations

V = TypeVar("V")
D = TypeVar("D")
K = TypeVar("K")
ENTRY_BYTES: Final = 768
"""The entry, its places in the two queues, the generations and the times."""
VALUE_BYTES: Final = 640
"""The key and the value, where nobody says otherwise."""
LIFE_S: Final = 3600.0
NOT_CACHED: Final = 0.0
"""The `ttl_s` of a value that is not to be cached."""
Seen = tuple[tuple[int, int], ...]


class _Absent(Enum):
    ABSENT = "absent"


ABSENT: Final = _Absent.ABSENT
"""What `get` can be told to return for a miss, where None is a value."""


@dataclass(frozen=True, slots=True)
class Basis:
    """The generations that a value was read under, and until when (on the monotonic clock) it is good at the most."""

    seen: Seen
    expires_at_s: float


@dataclass(slots=True, eq=False)
class _Entry(Generic[V]):
    cache: Cache[V]
    key: object
    value: V
    seen: Seen
    size_bytes: int
    expires_at_s: float
    is_used: bool = False

    def drop(self) -> None:
        """Let the entry go. Called with the budget's lock held."""
        self.cache.remove(self)


class Cache(Generic[V]):
    """Values by key, each good while the generations that it was read under stay the same."""

    def __init__(
        self, name: str, *, share: float, generations: Generations | None = None, budget: Budget = PROCESS
    ) -> None:
        """`share`: the largest part of the budget that its entries may take. `generations`: those of the machine, when
        None. Raises ValueError when the budget has a cache of that name."""
        self.name = name
        self.share = share
        self._generations = generations
        self._budget = budget
        self._entries: OrderedDict[object, _Entry[V]] = OrderedDict()
        self._size_bytes = 0
        self._bound_bytes = 0
        # Several threads may count at once and lose a count.
        self._hits = 0
        self._misses = 0
        budget.add(self)

    @overload
    def get(self, key: object) -> V | None: ...

    @overload
    def get(self, key: object, default: D) -> V | D: ...

    def get(self, key: object, default: object = None) -> object:
        """The value; `default` when there is none, or when something that it depends on has changed since it was read.

        While nobody can tell what other machines changed there is none; but when that is because the database does not
        answer, what is cached is as good as it gets (the caller of all decides for how long that may go on). A value
        that depends on no generation is not affected.
        """
        entry, generations = self._entries.get(key), self._generations
        if entry is None or generations is None:
            self._misses += 1
            return default
        if entry.expires_at_s < monotonic() or not generations.are(entry.seen):
            self._drop_stale(entry)
            self._misses += 1
            return default
        if not generations.is_verified() and entry.seen and not generations.unreachable_for_s():
            self._misses += 1
            return default
        entry.is_used = True
        self._hits += 1
        return entry.value

    def read_through(
        self,
        key: object,
        read: Callable[[], V],
        *,
        depends_on: Iterable[str],
        size_bytes: int | Callable[[V], int] = VALUE_BYTES,
        ttl_s: float | Callable[[V], float] = LIFE_S,
    ) -> V:
        """The cached value, or what `read` returns now, which is cached. Raises what `read` raises; that is not cached.

        `depends_on`: the keys of the generations that make it stale. `size_bytes` and `ttl_s`: as for `put`.
        """
        value = self.get(key, ABSENT)
        if value is not ABSENT:
            return value
        seen = self.begin(depends_on)
        value = read()
        self.put(key, value, seen=seen, size_bytes=size_bytes, ttl_s=ttl_s)
        return value

    async def aread_through(
        self,
        key: object,
        read: Callable[[], Awaitable[V]],
        *,
        depends_on: Iterable[str],
        size_bytes: int | Callable[[V], int] = VALUE_BYTES,
        ttl_s: float | Callable[[V], float] = LIFE_S,
    ) -> V:
        """`read_through` for the event loop."""
        value = self.get(key, ABSENT)
        if value is not ABSENT:
            return value
        seen = self.begin(depends_on)
        value = await read()
        self.put(key, value, seen=seen, size_bytes=size_bytes, ttl_s=ttl_s)
        return value

    def read_each(
        self,
        keys: Collection[K],
        read: Callable[[list[K]], Mapping[K, V]],
        *,
        depends_on: Callable[[K], Iterable[str]],
        size_bytes: int | Callable[[V], int] = VALUE_BYTES,
        ttl_s: float | Callable[[V], float] = LIFE_S,
    ) -> dict[K, V]:
        """The cached values of several keys, and what `read` returns now for all others at once."""
        found = self._get_each(keys)
        if missing := [key for key in keys if key not in found]:
            seen = {key: self.begin(depends_on(key)) for key in missing}
            for key, value in read(missing).items():
                found[key] = value
                self.put(key, value, seen=seen[key], size_bytes=size_bytes, ttl_s=ttl_s)
        return found

    async def aread_each(
        self,
        keys: Collection[K],
        read: Callable[[list[K]], Awaitable[Mapping[K, V]]],
        *,
        depends_on: Callable[[K], Iterable[str]],
        size_bytes: int | Callable[[V], int] = VALUE_BYTES,
        ttl_s: float | Callable[[V], float] = LIFE_S,
    ) -> dict[K, V]:
        """`read_each` for the event loop."""
        found = self._get_each(keys)
        if missing := [key for key in keys if key not in found]:
            seen = {key: self.begin(depends_on(key)) for key in missing}
            for key, value in (await read(missing)).items():
                found[key] = value
                self.put(key, value, seen=seen[key], size_bytes=size_bytes, ttl_s=ttl_s)
        return found

    def begin(self, depends_on: Iterable[str]) -> Seen:
        """Look at the generations *before* reading what they stand for; give the result to `put`."""
        generations = self._connected()
        slots = [generations.slot(key) for key in depends_on]
        return tuple((slot, generations.value(slot)) for slot in slots)

    def put(
        self,
        key: object,
        value: V,
        *,
        seen: Seen,
        size_bytes: int | Callable[[V], int] = VALUE_BYTES,
        ttl_s: float | Callable[[V], float] = LIFE_S,
    ) -> None:
        """Cache a value that was read after `seen`; not while one of its generations is being changed.

        `size_bytes`: what the key and the value take; what the entry itself takes is added. `ttl_s`: seconds for which
        it is good at the most; 0 or less: it is not cached.
        """
        life_s = ttl_s(value) if callable(ttl_s) else ttl_s
        weight_bytes = ENTRY_BYTES + (size_bytes(value) if callable(size_bytes) else size_bytes)
        if life_s <= 0 or weight_bytes > self._bound_bytes:
            return
        is_clean = self._connected().is_clean
        for _, generation in seen:
            if not is_clean(generation):
                return
        entry = _Entry(self, key, value, seen, weight_bytes, monotonic() + life_s)
        budget = self._budget
        with budget.lock:
            former = self._entries.get(key)
            if former is not None:
                former.drop()
            self._entries[key] = budget.queue[entry] = entry
            self._size_bytes += weight_bytes
            budget.size_bytes += weight_bytes
            self._make_room()
            budget.make_room()

    def remove(self, entry: _Entry[V]) -> None:
        """Let an entry go. Called with the budget's lock held."""
        del self._entries[entry.key], self._budget.queue[entry]
        self._size_bytes -= entry.size_bytes
        self._budget.size_bytes -= entry.size_bytes

    def basis(self, key: object, is_used: Callable[[V], bool]) -> Basis | None:
        """Generations and expiry of the cached value, for a value that is made from several.

        None if there is no entry, or `is_used` says that it is not the value that was used: one that was read during a
        change is not cached and may find another in its place.
        """
        entry = self._entries.get(key)
        return Basis(entry.seen, entry.expires_at_s) if entry is not None and is_used(entry.value) else None

    def put_composite(self, key: object, value: V, bases: Sequence[Basis | None], *, size_bytes: int) -> None:
        """Cache a value that is good while everything that it was made from is; not when some of that is not cached."""
        cached = [basis for basis in bases if basis is not None]
        if len(cached) < len(bases):
            return
        seen = tuple({pair for basis in cached for pair in basis.seen})
        until_s = min(basis.expires_at_s for basis in cached)
        self.put(key, value, seen=seen, size_bytes=size_bytes, ttl_s=until_s - monotonic())

    def statistics(self) -> CacheStatistics:
        """What the cache holds now, and its hits and misses so far."""
        return CacheStatistics(
            self.name, self._hits, self._misses, len(self._entries), self._size_bytes, self._bound_bytes
        )

    def resized(self) -> None:
        """Keep to another bound. Called by the budget, with its lock held."""
        self._bound_bytes = self._budget.bound_of(self)
        self._make_room()

    def _connected(self) -> Generations:
        """The generations; at first use, since a process that imports this may have no folder for them."""
        if self._generations is None:
            self._generations = state.generations()
        return self._generations

    def _get_each(self, keys: Collection[K]) -> dict[K, V]:
        found = ((key, self.get(key, ABSENT)) for key in keys)
        return {key: value for key, value in found if value is not ABSENT}

    def _make_room(self) -> None:
        while self._size_bytes > self._bound_bytes:
            next_out(self._entries).drop()

    def _drop_stale(self, entry: _Entry[V]) -> None:
        with self._budget.lock:
            if self._entries.get(entry.key) is entry:  # and not a fresh one that has taken its place
                entry.drop()
