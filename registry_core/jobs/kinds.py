"""The kinds of jobs: each app declares its own in its `tasks.py`, on the function that runs one task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec

from registry_core.errors import InvalidInput

if TYPE_CHECKING:
    from registry_core.jobs.running import Run

P = TypeVar("P", bound=msgspec.Struct)
ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class JobKind(Generic[P]):
    """A kind of job. `run` does one task and returns what is to be kept of its outcome; it may be run again after a
    crash, so it changes things only within `Run.fenced`.

    `is_bulk`: nobody waits for it, so that it leaves a thread to what somebody does. `is_exclusive`: at most one
    execution at a time, for each thing that it is about. `max_running`, `max_per_project`: tasks at a time in the whole
    installation, and for one project; 0 is no limit. `cron`: its schedule until an administrator sets another one.
    """

    name: str
    run: Callable[[Run[P]], Mapping[str, Any] | None]
    parameters: type[P]
    is_bulk: bool
    is_exclusive: bool
    attempts: int
    max_running: int
    max_per_project: int
    cron: str

    def parsed(self, parameters: Mapping[str, Any]) -> P:
        """The parameters of a task. Raises InvalidInput."""
        try:
            return msgspec.convert(dict(parameters), self.parameters, strict=False)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"the parameters of {self.name} are invalid: {error}") from None


_kinds: Final[dict[str, JobKind[Any]]] = {}


def job_kind(
    name: str,
    *,
    parameters: type[P],
    is_bulk: bool = True,
    is_exclusive: bool = False,
    attempts: int = ATTEMPTS,
    max_running: int = 0,
    max_per_project: int = 0,
    cron: str = "",
) -> Callable[[Callable[[Run[P]], Mapping[str, Any] | None]], JobKind[P]]:
    """Declare the decorated function as what runs a task of this kind. Raises ValueError for a name that is taken."""

    def declare(run: Callable[[Run[P]], Mapping[str, Any] | None]) -> JobKind[P]:
        if name in _kinds:
            raise ValueError(f"there are jobs of the kind {name} already")
        kind = JobKind(
            name, run, parameters, is_bulk, is_exclusive, attempts, max_running, max_per_project, cron
        )  # fmt: skip
        _kinds[name] = kind
        return kind

    return declare


def kind_named(name: str) -> JobKind[Any]:
    """The kind of that name. Raises KeyError."""
    return _kinds[name]


def all_kinds() -> list[JobKind[Any]]:
    """Every kind, by name. Complete once every `tasks` module is imported."""
    return sorted(_kinds.values(), key=lambda kind: kind.name)


def forget(kind: JobKind[Any]) -> None:
    """Remove a kind."""
    del _kinds[kind.name]
