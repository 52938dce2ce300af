"""Limits that all clients share fairly.

The rule: a caller may hold at most `ratio` times what is free after it took its part. A single caller gets most of the
total; the more callers there are, the less each may hold; and something is always left for a new one. With `ratio` 1
one caller gets half, two get a third each, and so on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from registry_core.http.callers import Caller


class OverShare(Exception):
    """There is room, but this caller holds as much as it may while others need the rest."""


class AllTaken(Exception):
    """There is no room for anybody."""


class Shared:
    """`limit` units of something, given to callers by their key. For one thread: the event loop's."""

    __slots__ = ("_held", "_ratio", "_taken", "limit")

    def __init__(self, limit: int, *, ratio: float = 1.0) -> None:
        self.limit = limit
        self._ratio = ratio
        self._taken = 0
        self._held: dict[str, int] = {}

    @property
    def free(self) -> int:
        return self.limit - self._taken

    def held_by(self, key: str) -> int:
        """How much the caller holds."""
        return self._held.get(key, 0)

    def is_free_for(self, key: str, amount: int = 1) -> bool:
        """Whether the caller may take `amount` now. A caller that holds nothing may take whatever is free."""
        free, held = self.free - amount, self._held.get(key, 0)
        return free >= 0 and (not held or held + amount <= self._ratio * free)

    def take(self, key: str, amount: int = 1) -> None:
        """Take `amount`. Raises OverShare or AllTaken."""
        if not self.try_take(key, amount):
            raise OverShare if self.free >= amount else AllTaken

    def try_take(self, key: str, amount: int = 1) -> bool:
        """Take `amount` if the caller may; returns whether it did."""
        if not self.is_free_for(key, amount):
            return False
        self._taken += amount
        self._held[key] = self._held.get(key, 0) + amount
        return True

    def give_back(self, key: str, amount: int = 1) -> None:
        """Return what `take` gave."""
        self._taken -= amount
        left = self._held.pop(key, 0) - amount
        if left:
            self._held[key] = left


class Turns:
    """A limited number of places for work that waits for one. Callers take turns, and so do the members of each."""

    __slots__ = ("_places", "_waiting")

    def __init__(self, limit: int, *, ratio: float = 3.0) -> None:
        self._places = Shared(limit, ratio=ratio)
        self._waiting: dict[str, dict[str, deque[asyncio.Future[None]]]] = {}

    @property
    def is_somebody_waiting(self) -> bool:
        """Whether more callers wait than there are places. For any thread."""
        return bool(self._waiting)

    async def enter(self, caller: Caller) -> None:
        """Wait for a place. `leave` returns it."""
        if caller.group not in self._waiting and self._places.try_take(caller.group):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller.group, {}).setdefault(caller.member, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(caller)  # the place came too late
            raise

    def leave(self, caller: Caller) -> None:
        """Return a place; the next caller gets it."""
        self._places.give_back(caller.group)
        for group in [*self._waiting]:
            if not self._places.free:
                return
            if self._places.is_free_for(group) and self._admit_one_of(group):
                self._places.take(group)

    def _admit_one_of(self, group: str) -> bool:
        """Admit the next member of a group, and put the group at the end of the queue; False if none of it waits any
        more."""
        members = self._waiting.pop(group)
        while members:
            member, turns = next(iter(members.items()))
            del members[member]
            turn = turns.popleft()
            if turns:
                members[member] = turns
            if not turn.done():
                turn.set_result(None)
                break
        else:
            return False
        if members:
            self._waiting[group] = members
        return True


class SharedSlots:
    """Slots that are not waited for: a caller's share is smaller than that of its address, since other callers may come
    from the same address."""

    __slots__ = ("_of_addresses", "_of_callers")

    def __init__(self, limit: int) -> None:
        self._of_callers = Shared(limit)
        self._of_addresses = Shared(limit, ratio=3.0)

    @contextmanager
    def one(self, caller: str, address: str) -> Iterator[None]:
        """Hold one slot. Raises OverShare or AllTaken."""
        self._of_callers.take(caller)
        try:
            self._of_addresses.take(address)
            try:
                yield
            finally:
                self._of_addresses.give_back(address)
        finally:
            self._of_callers.give_back(caller)
