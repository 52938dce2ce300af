"""What the REST views remember between requests, so that a list page spends its queries on the list.

The same rule as on the data path: a value is good while the generations it was read under stay the same. Views run in
threads, so a lock stands before the cache.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from registry_core.caching.generation_cache import Basis, GenerationCache, Seen
from registry_core.machine.state import generations

V = TypeVar("V")
K = TypeVar("K")


class Memory(Generic[V]):
    """A cache by generation for many threads; `name` is its own in `registry_core.caches`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()

    @functools.cached_property
    def _cache(self) -> GenerationCache[V]:
        return GenerationCache(generations(), self._name)

    def get(self, key: object) -> V | None:
        """The value, when there is one and nothing it depends on has changed."""
        with self._lock:
            return self._cache.get(key)

    def fill(
        self,
        key: object,
        read: Callable[[], V],
        *,
        depends_on: Iterable[str],
        size_bytes: int | Callable[[V], int] = 512,
        ttl_s: float | Callable[[V], float] = 3600.0,
    ) -> V:
        """Read a value and remember it while the generations `depends_on` stay the same, for `ttl_s` at most."""
        seen = self._cache.begin(depends_on)
        value = read()
        weight_bytes = size_bytes if isinstance(size_bytes, int) else size_bytes(value)
        life_s = ttl_s(value) if callable(ttl_s) else ttl_s
        with self._lock:
            self._cache.put(key, value, seen=seen, size_bytes=weight_bytes, ttl_s=life_s)
        return value

    def begin(self, depends_on: Iterable[str]) -> Seen:
        """The generations as they are now: other values mean that something has changed since."""
        return self._cache.begin(depends_on)

    def basis(self, key: object, is_used: Callable[[V], bool]) -> Basis | None:
        """As `GenerationCache.basis`."""
        with self._lock:
            return self._cache.basis(key, is_used)

    def recall_each(
        self, keys: Mapping[K, str], read: Callable[[list[K]], Mapping[K, V]], *, size_bytes: int = 512
    ) -> dict[K, V]:
        """What is remembered of each key, and what `read` gives now for the others, all at once.

        `keys` says of each which generation it depends on.
        """
        known = {key: value for key in keys if (value := self.get(key)) is not None}
        unknown = [key for key in keys if key not in known]
        if not unknown:
            return known
        seen = {key: self._cache.begin([keys[key]]) for key in unknown}
        found = read(unknown)
        with self._lock:
            for key, value in found.items():
                self._cache.put(key, value, seen=seen[key], size_bytes=size_bytes)
        return known | dict(found)

    def recall(
        self,
        key: object,
        read: Callable[[], V],
        *,
        depends_on: Iterable[str],
        size_bytes: int | Callable[[V], int] = 512,
        ttl_s: float | Callable[[V], float] = 3600.0,
    ) -> V:
        """The remembered value, or what `read` gives now."""
        value = self.get(key)
        if value is not None:
            return value
        return self.fill(key, read, depends_on=depends_on, size_bytes=size_bytes, ttl_s=ttl_s)
