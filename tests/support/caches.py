"""Caches of the process, each with entries and generations of its own while a test lasts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import pytest

from registry_core.caches import Budget
from registry_core.caching.cache import Cache
from registry_core.machine.generations import Generations


def isolate(monkeypatch: pytest.MonkeyPatch, generations: Generations, caches: Iterable[Cache[Any]]) -> None:
    """Empty the caches until the test ends, and let them look at other generations than the process does."""
    budget = Budget()
    for cache in caches:
        monkeypatch.setattr(cache, "_generations", generations)
        monkeypatch.setattr(cache, "_entries", OrderedDict())
        monkeypatch.setattr(cache, "_size_bytes", 0)
        monkeypatch.setattr(cache, "_budget", budget)
