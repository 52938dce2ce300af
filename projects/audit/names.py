"""The names that a batch of events means by its ids: a few queries, whatever the number of events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from django.db import connection

from rbac.models import Robot
from rbac.services.robots import full_name
from registry_core.access import SubjectKind
from registry_core.digests import Digest
from registry_core.events.models import Event

_NAMES: Final = """
    SELECT 'users', id, username FROM rbac_user WHERE id = ANY(%(users)s)
    UNION ALL SELECT 'groups', id, name FROM rbac_group WHERE id = ANY(%(groups)s)
    UNION ALL SELECT 'projects', id, name FROM content_project WHERE id = ANY(%(projects)s)
    UNION ALL SELECT 'repositories', id, name FROM content_repository WHERE id = ANY(%(repositories)s)
    UNION ALL SELECT 'artifacts', id, encode(digest, 'hex') FROM content_artifact WHERE id = ANY(%(artifacts)s)
"""


@dataclass(frozen=True, slots=True)
class Names:
    """Names by id, of the living and of the deleted."""

    users: dict[int, str]
    robots: dict[int, str]
    groups: dict[int, str]
    projects: dict[int, str]
    repositories: dict[int, str]
    artifacts: dict[int, str]

    def subject(self, event: Event) -> str:
        """The name of who did it."""
        if event.subject_kind == SubjectKind.USER:
            return self.users.get(event.subject_id, f"user {event.subject_id}")
        if event.subject_kind == SubjectKind.ROBOT:
            return self.robots.get(event.subject_id, f"robot {event.subject_id}")
        return SubjectKind(event.subject_kind).name.lower()


@dataclass(frozen=True, slots=True)
class EventNames:
    """The names behind the ids of one event: what its payload asks for (`registry_core.events.kinds.Names`)."""

    _event: Event
    _names: Names

    @property
    def project(self) -> str:
        number = self._event.project_id
        return "" if number is None else self._names.projects.get(number, f"project {number}")

    @property
    def repository(self) -> str:
        number = self._event.repository_id
        if number is None:
            return ""
        return f"{self.project}/{self._names.repositories.get(number, f'repository {number}')}"

    def user(self, number: int) -> str:
        return self._names.users.get(number, f"user {number}")

    def group(self, number: int) -> str:
        return self._names.groups.get(number, f"group {number}")

    def artifact(self, number: int) -> str:
        return self._names.artifacts.get(number, "")


def names_in(events: Sequence[Event]) -> Names:
    """Look up every name that the events need."""
    asked = [event.struct.ids() for event in events if event.struct is not None]
    robots = [event.subject_id for event in events if event.subject_kind == SubjectKind.ROBOT]
    acting = [event.subject_id for event in events if event.subject_kind == SubjectKind.USER]
    found = _named(
        users={*acting, *chain.from_iterable(ids.users for ids in asked)},
        groups=set(chain.from_iterable(ids.groups for ids in asked)),
        projects={event.project_id for event in events if event.project_id is not None},
        repositories={event.repository_id for event in events if event.repository_id is not None},
        artifacts=set(chain.from_iterable(ids.artifacts for ids in asked)),
    )
    return Names(
        users={pk: _as_was(name, pk) for pk, name in found["users"].items()},
        robots={robot.pk: full_name(robot) for robot in Robot.objects.filter(pk__in=robots).select_related("project")},
        groups=found["groups"],
        projects=found["projects"],
        repositories=found["repositories"],
        artifacts={pk: str(Digest(bytes.fromhex(raw))) for pk, raw in found["artifacts"].items()},
    )


def _named(**ids: set[int]) -> dict[str, dict[int, str]]:
    """The names of all kinds by id, by one statement: this runs several times a second while there are pushes."""
    found: dict[str, dict[int, str]] = {kind: {} for kind in ids}
    with connection.cursor() as cursor:
        cursor.execute(_NAMES, {kind: list(wanted) for kind, wanted in ids.items()})
        for kind, pk, name in cursor.fetchall():
            found[kind][pk] = name
    return found


def _as_was(name: str, pk: int) -> str:
    """A deleted user's name without the mark that sets it free."""
    return name.removesuffix(f"#{pk}")
