"""What the data path remembers: bounded, least recently used first out, and checked by generation at each use."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from registry_core.caches import LIMITS_BYTES, CacheStatistics, register
from registry_core.machine.generations import Generations

V = TypeVar("V")
ENTRY_BYTES = 640  # the entry, its place in the order, the generations and the time that it was read under
Seen = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Basis:
    """The generations that a value was read under, and until when (on the monotonic clock) it is good at the most."""

    seen: Seen
    expires_at_s: float


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    seen: Seen
    size_bytes: int
    expires_at_s: float


class GenerationCache(Generic[V]):
    """Values by key, each good while the generations it was read under stay the same. For one thread: the event
    loop's."""

    def __init__(self, generations: Generations, name: str, *, limit_bytes: int | None = None) -> None:
        """`limit_bytes`: other than what `registry_core.caches` says for the name."""
        self._generations = generations
        self._name = name
        self._limit_bytes = LIMITS_BYTES[name] if limit_bytes is None else limit_bytes
        self._size_bytes = 0
        self._entries: OrderedDict[object, _Entry[V]] = OrderedDict()
        self.hits = 0
        self.misses = 0
        register(name, self.statistics)

    def get(self, key: object) -> V | None:
        """The value, when there is one and nothing it depends on has changed since it was read.

        While nobody can tell what other machines changed there is none; but when that is because the database does
        not answer, what is remembered is as good as it gets (how long that may go on, the caller of all decides).
        """
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        if entry.expires_at_s < time.monotonic() or not self._generations.are(entry.seen):
            self._forget(key)
            self.misses += 1
            return None
        if not self._generations.is_verified() and not self._generations.unreachable_for_s():
            self.misses += 1
            return None
        self._entries.move_to_end(key)
        self.hits += 1
        return entry.value

    def begin(self, keys: Iterable[str]) -> Seen:
        """Look at the generations *before* reading what they stand for; give the result to `put`."""
        slots = [self._generations.slot(key) for key in keys]
        return tuple((slot, self._generations.value(slot)) for slot in slots)

    def put(self, key: object, value: V, *, seen: Seen, size_bytes: int = 640, ttl_s: float = 3600) -> None:
        """Remember a value that was read after `seen`; not while one of its generations is being changed.

        `size_bytes`: what the key and the value take; what the entry itself takes is added.
        """
        size_bytes += ENTRY_BYTES
        if size_bytes > self._limit_bytes or not all(self._generations.is_clean(generation) for _, generation in seen):
            return
        self._forget(key)
        self._entries[key] = _Entry(value, seen, size_bytes, time.monotonic() + ttl_s)
        self._size_bytes += size_bytes
        while self._size_bytes > self._limit_bytes:
            _, oldest = self._entries.popitem(last=False)
            self._size_bytes -= oldest.size_bytes

    def basis(self, key: object, is_used: Callable[[V], bool]) -> Basis | None:
        """On what the remembered value of `key` stands, for a value that is made from several.

        None unless `is_used` says that it is the one that was used: a value that could not be remembered, because it
        was read in the middle of a change, may have left another one's in its place.
        """
        entry = self._entries.get(key)
        return Basis(entry.seen, entry.expires_at_s) if entry is not None and is_used(entry.value) else None

    def put_on(self, key: object, value: V, bases: Sequence[Basis | None], *, size_bytes: int) -> None:
        """Remember a value that is good while all that it was made from is. Nothing when one of that was not
        remembered."""
        known = [basis for basis in bases if basis is not None]
        if len(known) < len(bases):
            return
        seen = tuple({pair for basis in known for pair in basis.seen})
        until_s = min(basis.expires_at_s for basis in known)
        self.put(key, value, seen=seen, size_bytes=size_bytes, ttl_s=until_s - time.monotonic())

    def statistics(self) -> CacheStatistics:
        """What the cache holds now, and how often it was asked."""
        return CacheStatistics(
            self._name, self.hits, self.misses, len(self._entries), self._size_bytes, self._limit_bytes
        )

    def _forget(self, key: object) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size_bytes -= entry.size_bytes
