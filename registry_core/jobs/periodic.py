"""Periodic work: what the registry does every few seconds, in the process that has the clock.

Each app declares its own in its `tasks.py`, on the function that does the work. It is short, may run on several
machines at once, and needs no record of its runs. Work that is due at a time of the day, takes long, or is started by
somebody is a job (`registry_core.jobs.kinds`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

F = TypeVar("F", bound=Callable[[], object])


@dataclass(frozen=True, slots=True)
class Periodic:
    """A declared function; `name` is shown in logs and status pages."""

    name: str
    function: Callable[[], object]
    every_s: float


_declared: Final[dict[str, Periodic]] = {}


def periodic(name: str, *, every_s: float) -> Callable[[F], F]:
    """Declare a function that runs every `every_s` seconds. A run that is still going on when the next one is due
    replaces it."""

    def declare(function: F) -> F:
        _declared[name] = Periodic(name, function, every_s)
        return function

    return declare


def declared() -> list[Periodic]:
    """All declared functions. Complete once every `tasks` module is imported."""
    return list(_declared.values())
