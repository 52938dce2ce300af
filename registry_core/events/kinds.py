"""The kinds of events. Each is a struct, defined by the app in which it happens and registered under a name here.

The audit log, webhooks and the documentation read this registry; none of them interprets a payload by itself. A name
has two or three words with dots between them: what it is about, perhaps a part of that, and what happened in the past
tense (`artifact.pushed`, `project.member.added`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol, TypeVar

import msgspec

_GRAMMAR: Final = re.compile(r"[a-z]+(?:_[a-z]+)*(?:\.[a-z]+(?:_[a-z]+)*){1,2}")


class Operation(StrEnum):
    """What was done, in the words that the audit log is filtered by."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    PULL = "pull"
    READ = "read"
    LOGIN = "login"
    LOGOUT = "logout"
    REFUSE = "refuse"


class Result(StrEnum):
    """How it ended."""

    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids in a payload whose names a consumer may want to show."""

    users: Sequence[int] = ()
    groups: Sequence[int] = ()
    artifacts: Sequence[int] = ()


class Names(Protocol):
    """The names behind the ids of one event: as they are now, of deleted things as they were."""

    @property
    def project(self) -> str:
        """The event's project."""

    @property
    def repository(self) -> str:
        """The full name of the event's repository; empty when the event is about none."""

    def user(self, number: int) -> str:
        """A user's name."""

    def group(self, number: int) -> str:
        """A group's name."""

    def artifact(self, number: int) -> str:
        """An artifact's digest; empty when there is no such artifact."""


class Payload(msgspec.Struct, omit_defaults=True):
    """What an event says beyond what every event has (see `registry_core.events.models.Event`).

    Stored as JSON without the fields that have their default. So a field that is added later needs a default, and one
    that is no longer written stays readable: a consumer may meet an event of the release before.
    """

    def ids(self) -> Ids:
        """The ids that `resource` and `details` ask names for."""
        return Ids()

    def resource(self, names: Names) -> str:
        """What the event is about, in a word, for people."""
        return names.repository or names.project

    def details(self, names: Names) -> Iterable[str]:
        """Short phrases with whatever else people want to know."""
        del names
        return ()


@dataclass(frozen=True, slots=True)
class Kind:
    """A registered kind of event. `resource_type` is what it is about, `result` how what it reports has ended."""

    name: str
    payload: type[Payload]
    operation: Operation
    resource_type: str
    result: Result
    former_names: tuple[str, ...] = ()
    summary: str = field(default="", compare=False)

    @property
    def audit_type(self) -> str:
        """How the settings name it that leave kinds out of the audit log: `create_artifact`."""
        return f"{self.operation}_{self.resource_type}"


P = TypeVar("P", bound=type[Payload])
_by_name: Final[dict[str, Kind]] = {}
_by_payload: Final[dict[type[Payload], Kind]] = {}


def event_kind(
    name: str,
    operation: Operation,
    *,
    of: str = "",
    result: Result = Result.SUCCESS,
    former_names: tuple[str, ...] = (),
) -> Callable[[P], P]:
    """Register the decorated struct as the payload of the events called `name`.

    `of`: what the events are about, if not the first word of the name. `former_names`: what earlier releases called
    them. Raises ValueError for a name that is none or that is taken.
    """
    if not _GRAMMAR.fullmatch(name):
        raise ValueError(f"{name!r} does not name a kind of event: it is like `artifact.pushed`")

    def register(payload: P) -> P:
        summary = " ".join((payload.__doc__ or "").split())
        kind = Kind(name, payload, operation, of or name.partition(".")[0], result, former_names, summary)
        for each in (name, *former_names):
            if each in _by_name:
                raise ValueError(f"there are events called {each!r} already")
            _by_name[each] = kind
        _by_payload[payload] = kind
        return payload

    return register


def kind_of(payload: type[Payload]) -> Kind:
    """The kind that a payload is of. Raises KeyError for a struct that is not registered."""
    return _by_payload[payload]


def all_kinds() -> list[Kind]:
    """Every kind of event, by name."""
    return sorted(_by_payload.values(), key=lambda kind: kind.name)


def kind_named(name: str) -> Kind | None:
    """The kind of that name, or that had it in an earlier release; None for one of a later release."""
    return _by_name.get(name)


def payload_of(name: str, stored: Mapping[str, Any]) -> Payload | None:
    """The payload of a stored event; None when this release cannot read it, which a later one may have written."""
    kind = kind_named(name)
    if kind is None:
        return None
    try:
        return msgspec.convert(stored, kind.payload, strict=False)
    except msgspec.ValidationError:
        return None
