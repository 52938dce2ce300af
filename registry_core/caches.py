"""What a process remembers, in one place: how much each memory may hold, and how often it knew the answer.

Two kinds: caches of what can change, checked by generation at each use (`registry_core.caching.generation_cache`), and
the results of pure functions of text, which never change (`remembered`). Every one has its limit here and reports its
figures in `statistics`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
MIB: Final = 1 << 20

# Per process. tests/registry_core/test_caches.py fills those that clients fill, and measures what they take.
LIMITS_BYTES: Final = {
    "manifests": 128 * MIB,
    "answers": 32 * MIB,
    "blobs": 16 * MIB,
    "signed urls": 8 * MIB,
    "names": 16 * MIB,
    "identities": 16 * MIB,
    "holders": 4 * MIB,
    "projects by name": 4 * MIB,
    "actions": 16 * MIB,
    "absences": 4 * MIB,
    "verdicts": 16 * MIB,
    "reaches": 4 * MIB,
    "catalogs": 8 * MIB,
    "routes": 16 * MIB,
    "repository names": 8 * MIB,
    "addresses": 4 * MIB,
    "written addresses": 4 * MIB,
    "networks": 1 * MIB,
    "hosts": 1 * MIB,
    "callers": 4 * MIB,
    "project permissions": 8 * MIB,
    "absent projects": 2 * MIB,
    "absent project names": 1 * MIB,
    "system permissions": 4 * MIB,
    "pullable projects": 4 * MIB,
    "settings": 1 * MIB,
    "projects": 2 * MIB,
    "repositories": 4 * MIB,
    "artifact pages": 32 * MIB,
    "artifact counts": 4 * MIB,
    "repository totals": 2 * MIB,
    "long logs": 1 * MIB,
}


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """What one cache holds now, and how often it was asked since the process began."""

    name: str
    hits: int
    misses: int
    entries: int
    size_bytes: int
    limit_bytes: int


_told: dict[str, Callable[[], CacheStatistics]] = {}


def register(name: str, tell: Callable[[], CacheStatistics]) -> None:
    """Let `statistics` ask for the figures of a cache; a later one of the same name takes the place."""
    _told[name] = tell


def statistics() -> list[CacheStatistics]:
    """The figures of every cache of this process."""
    return [tell() for tell in _told.values()]


def remembered(name: str, *, entry_bytes: int, longest: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Remember the results of a pure function of texts, the least recently used first out.

    An entry takes at most `entry_bytes`: texts longer than `longest` characters, and those beyond ASCII, whose
    characters may take four bytes, are computed each time. An error is not remembered.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        known: Any = functools.lru_cache(maxsize=LIMITS_BYTES[name] // entry_bytes)(function)
        register(name, functools.partial(_of_function, name, known.cache_info, entry_bytes))

        @functools.wraps(function)
        def call(*texts: P.args, **named: P.kwargs) -> R:
            # The last one is the variable one, the only that a client makes up.
            text: Any = texts[-1]
            if len(text) > longest or not text.isascii():
                return function(*texts, **named)
            result: R = known(*texts, **named)
            return result

        return call

    return decorate


def _of_function(name: str, info: Callable[[], Any], entry_bytes: int) -> CacheStatistics:
    hits, misses, _, entries = info()
    return CacheStatistics(name, hits, misses, entries, entries * entry_bytes, LIMITS_BYTES[name])
