"""From requested scopes to grants bound to ids. Synchronous, on Django's database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from django.db import connection

from registry_core.access import NO_ACTIONS, NO_PROJECT, PUSH, Subject, authority
from registry_core.distribution.reads import Located, columns_of, locate_statement, located_in
from registry_core.names import InvalidName, RepositoryName
from registry_core.tokens.jwt import Grant
from registry_core.tokens.scopes import EVERY_ACTION, Scope

CATALOG: Final = ("registry", "catalog")


@dataclass(frozen=True, slots=True)
class Living:
    """The ids of the requested projects and repositories that are living."""

    projects: dict[str, int]
    repositories: dict[RepositoryName, int]


def grants_for(*, subject: Subject, scopes: Sequence[Scope]) -> list[Grant]:
    """One grant per scope: the requested actions that the subject has now, possibly none."""
    names = names_in(scopes)
    living = _living(_locate(names.values()))
    # Also for a nonexistent project, which takes as long as one in which the subject has no permission.
    wanted = {living.projects.get(name.project, NO_PROJECT) for name in names.values()}
    held = authority().actions_by_project(subject=subject, project_ids=wanted)
    return grants_on(subject=subject, scopes=scopes, names=names, living=living, held=held)


def grants_on(
    *,
    subject: Subject,
    scopes: Sequence[Scope],
    names: dict[str, RepositoryName],
    living: Living,
    held: dict[int, frozenset[str]],
) -> list[Grant]:
    """The same from cached facts: which names exist, and the subject's permissions in each project."""
    return [_grant(scope, names.get(scope.name), living, held, subject) for scope in scopes]


def names_in(scopes: Sequence[Scope]) -> dict[str, RepositoryName]:
    """The repositories' names in the scopes, by scope."""
    return {scope.name: name for scope in scopes if scope.type == "repository" and (name := _name(scope.name))}


def _living(found: Mapping[RepositoryName, Located]) -> Living:
    living = Living({}, {})
    for name, located in found.items():
        if located.project is not None:
            living.projects[name.project] = located.project.id
        if located.repository is not None:
            living.repositories[name] = located.repository.id
    return living


def _grant(
    scope: Scope, name: RepositoryName | None, living: Living, held: dict[int, frozenset[str]], subject: Subject
) -> Grant:
    if (scope.type, scope.name) == CATALOG and authority().may_list_catalog(subject):
        return Grant(scope.type, scope.name, _asked(scope, frozenset({EVERY_ACTION})))
    project_id = living.projects.get(name.project) if name and scope.type == "repository" else None
    actions = _asked(scope, held.get(project_id, NO_ACTIONS)) if project_id is not None else ()
    is_push_refused = name is not None and PUSH in scope.actions and PUSH not in actions
    if name is None or not actions:  # the ids would reveal that the project and the repository exist
        return Grant(scope.type, scope.name, (), is_push_refused=is_push_refused)
    return Grant(scope.type, scope.name, actions, project_id, living.repositories.get(name), is_push_refused)


def _asked(scope: Scope, held: frozenset[str]) -> tuple[str, ...]:
    is_every = EVERY_ACTION in scope.actions
    return tuple(sorted(held if is_every else held.intersection(scope.actions)))


def _name(text: str) -> RepositoryName | None:
    try:
        return RepositoryName.parse(text)
    except InvalidName:
        return None


def _locate(names: Iterable[RepositoryName]) -> dict[RepositoryName, Located]:
    wanted = list(names)
    if not wanted:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(locate_statement(len(wanted)), columns_of([(name.project, name.path) for name in wanted]))
        return dict(map(located_in, cursor.fetchall()))
