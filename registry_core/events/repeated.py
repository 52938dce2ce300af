"""Events that somebody can cause as often as he likes: failed sign-ins, reads that are to be known of.

The first of each kind is written at once (or, where nothing can be written, within seconds). Those after it are only
counted, and told by one event when their minute is over. So a flood does not fill the outbox; nor does it hide anybody
else: who floods with ever new names is told in sum, by himself (`origin`), and only when there are very many such
origins all in one.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Final

from django.db import Error, connection, transaction

WINDOW_S: Final = 60.0
NAMES_EACH: Final = 10
"""Names of one origin that are told apart within a window."""
PLACES_MAX: Final = 300
"""Names that are told apart within a window, and origins beside them."""


@dataclass(frozen=True, slots=True)
class Place:
    """What is told together. An empty name: many names of this origin. An empty origin as well: of many origins."""

    origin: str
    name: str


Write = Callable[[Place, int], None]
"""Emits the event that says that something happened so many times. Within a transaction."""


class Repeated:
    """Counts one kind of event in this process."""

    def __init__(self, write: Write, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._lock = threading.Lock()
        self._began_at = clock()
        self._reported: set[Place] = set()
        self._names = Counter[str]()
        self._unreported = Counter[Place]()
        self._ready = Counter[Place]()
        _all.append(self)

    def note(self, *, origin: str, name: str) -> None:
        """Count one more, and tell of it if it is the first. Raises Django's database errors; then it is counted on."""
        with self._lock:
            due = self._renewed()
            place = self._place(origin, name)
            is_first = bool(place.name) and place not in self._reported
            if is_first:
                self._reported.add(place)
                self._names[origin] += 1
            else:
                self._unreported[place] += 1
        self._report(due, Counter([place] if is_first else []))

    def count(self, *, origin: str, name: str) -> None:
        """As `note`, where nothing can be written: the first is told by the next `flush_due`, some seconds later."""
        with self._lock:
            self._ready.update(self._renewed())
            place = self._place(origin, name)
            if not place.name or place in self._reported:
                self._unreported[place] += 1
                return
            self._reported.add(place)
            self._names[origin] += 1
            self._ready[place] += 1

    def is_due(self) -> bool:
        """Whether there is something to tell: firsts that wait, or what was counted in a window that is over."""
        return bool(self._ready) or (bool(self._unreported) and self._clock() - self._began_at >= WINDOW_S)

    def flush(self, *, anyway: bool = True) -> None:
        """Tell what was counted, whether its window is over or (`anyway`) not. Raises as `note`."""
        with self._lock:
            due, ready = self._renewed(anyway=anyway), self._ready
            self._ready = Counter()
        self._report(due, ready)

    def _renewed(self, *, anyway: bool = False) -> Counter[Place]:
        """Begin a new window when this one is over; what is to be told of the old one."""
        if not anyway and self._clock() - self._began_at < WINDOW_S:
            return Counter()
        due, self._unreported = self._unreported, Counter()
        self._reported.clear()
        self._names.clear()
        self._began_at = self._clock()
        return due

    def _place(self, origin: str, name: str) -> Place:
        place = Place(origin, name)
        if place in self._reported:
            return place
        if self._names[origin] < NAMES_EACH and len(self._reported) < PLACES_MAX:
            return place
        in_sum = Place(origin, "")
        return in_sum if in_sum in self._unreported or len(self._unreported) < 2 * PLACES_MAX else Place("", "")

    def _report(self, *counted: Counter[Place]) -> None:
        if not any(counted):
            return
        try:
            with transaction.atomic():
                for place, times in chain.from_iterable(each.items() for each in counted):
                    self._write(place, times)
        except Error:
            with self._lock:
                for each in counted:
                    self._unreported.update(each)
            raise


_all: list[Repeated] = []


def is_due() -> bool:
    """Whether anything is to be told by `flush_due` now."""
    return any(repeated.is_due() for repeated in _all)


def flush_due() -> None:
    """Tell what was counted in windows that are over."""
    for repeated in _all:
        if repeated.is_due():
            repeated.flush(anyway=False)


def flush_all() -> None:
    """Tell everything that was counted; before a process ends."""
    try:
        for repeated in _all:
            repeated.flush()
    finally:
        connection.close()
