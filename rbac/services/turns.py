"""Serialises callers with the same key."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from registry_core.access import TooManyAttempts


@dataclass(slots=True)
class _Turn:
    lock: threading.Lock = field(default_factory=threading.Lock)
    callers: int = 0


class Turns:
    """Admits callers with the same key one after the other, so that later ones can use what the first found out."""

    def __init__(self, *, wait_s: float) -> None:
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._turns: dict[Hashable, _Turn] = {}

    @contextmanager
    def turn(self, key: Hashable) -> Iterator[None]:
        """Wait until no other caller has a turn with this key. Raises TooManyAttempts if that takes too long."""
        with self._lock:
            turn = self._turns.setdefault(key, _Turn())
            turn.callers += 1
        try:
            if not turn.lock.acquire(timeout=self._wait_s):
                raise TooManyAttempts(1)
            try:
                yield
            finally:
                turn.lock.release()
        finally:
            self._left(key, turn)

    def _left(self, key: Hashable, turn: _Turn) -> None:
        with self._lock:
            turn.callers -= 1
            if not turn.callers:
                del self._turns[key]
