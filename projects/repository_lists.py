"""Repositories as shown in lists and searches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.db import connection
from django.db.models import Q, QuerySet

from registry_core.api.sql import api_time_of
from registry_core.content.models import Project, Repository

FOUND_MAX: Final = 100


def repositories_in(visible: list[int] | None) -> QuerySet[Repository]:
    """The living repositories of these projects; None: of all. A project with repositories cannot be deleted."""
    living = Repository.objects.filter(deleted_at=None)
    return living if visible is None else living.filter(project_id__in=visible)


@dataclass(frozen=True, slots=True)
class RepositoryRow:
    """A repository as shown in lists, in the order of the statement's columns."""

    id: int
    project_id: int
    name: str
    description: str
    pull_count: int
    created_at: str
    updated_at: str


def repository_rows(repository_ids: list[int]) -> list[RepositoryRow]:
    """The repositories, in the order of the given ids; deleted ones are left out.

    `updated_at` is the exact time of the last push or change of description: one probe of `artifact_newest` per row.
    Lists are therefore sorted by the column `changed_at`.
    """
    with connection.cursor() as cursor:
        cursor.execute(_ROWS, [repository_ids])
        rows = {row[0]: RepositoryRow(*row) for row in cursor.fetchall()}
    return [rows[repository_id] for repository_id in repository_ids if repository_id in rows]


_ROWS: Final = f"""
    SELECT repository.id, repository.project_id, project.name || '/' || repository.name, repository.description,
           repository.pull_count, {api_time_of("repository.created_at")},
           {api_time_of("greatest(repository.updated_at, newest.pushed_at)")}
    FROM content_repository AS repository JOIN content_project AS project ON project.id = repository.project_id
    LEFT JOIN LATERAL (
        SELECT pushed_at FROM content_artifact AS artifact
        WHERE artifact.repository_id = repository.id AND artifact.deleted_at IS NULL ORDER BY artifact.id DESC LIMIT 1
    ) AS newest ON true
    WHERE repository.id = ANY(%s) AND repository.deleted_at IS NULL
"""  # noqa: S608 the parts are constants


def named(*names: str, prefix: str = "") -> Q:
    """A condition for repositories with one of these full names, or with these names in any project.

    `prefix` precedes the columns, for rows of another table.
    """
    full = [name.partition("/")[::2] for name in names if "/" in name]
    wanted = Q(**{f"{prefix}name__in": names})
    for project, path in full:
        wanted |= Q(**{f"{prefix}name": path, f"{prefix}project__name": project})
    return wanted


def named_like(part: str) -> Q:
    """A condition for repositories whose full name contains `part`, using the trigram indexes for each piece of it."""
    part = part.lower()
    found = Q(name__contains=part) | Q(project__in=Project.objects.filter(name__contains=part, deleted_at=None))
    if "/" not in part:
        return found
    project, _, path = part.partition("/")
    ends_so = Project.objects.filter(name__endswith=project, deleted_at=None)
    return found | Q(project__in=ends_so, name__startswith=path)


def found_repositories(visible: list[int] | None, text: str) -> list[Repository]:
    """Up to FOUND_MAX repositories of the projects (None: of all) whose full name contains the text, by name."""
    # Redundant (a project with repositories cannot be deleted), but it lets Postgres use the index ordered by name.
    rows = repositories_in(visible).filter(named_like(text), project__deleted_at=None).select_related("project")
    return list(rows.order_by("project__name", "name")[:FOUND_MAX])


def found_projects(visible: list[int] | None, text: str) -> QuerySet[Project]:
    """Up to FOUND_MAX of the projects (None: of all) whose name contains the text, by name."""
    rows = Project.objects.filter(deleted_at=None, name__contains=text.lower())
    rows = rows if visible is None else rows.filter(pk__in=visible)
    return rows.order_by("name")[:FOUND_MAX]
