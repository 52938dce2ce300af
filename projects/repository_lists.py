"""Repositories as lists show them, and as searches find them."""

from __future__ import annotations

from typing import Final

from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce, Greatest

from registry_core.content.models import Artifact, Project, Repository

FOUND_MAX: Final = 100


def repositories_in(visible: list[int] | None) -> QuerySet[Repository]:
    """The living repositories of these projects; None: of all. A project cannot be deleted while it has any."""
    living = Repository.objects.filter(deleted_at=None)
    return living if visible is None else living.filter(project_id__in=visible)


def with_last_push(rows: QuerySet[Repository]) -> QuerySet[Repository]:
    """The repositories with `last_change_at`: the last push to them or change of their description, to the moment.

    One probe of `artifact_newest` for each, so it is for a page of them: lists are sorted by `changed_at`.
    """
    newest = Artifact.objects.filter(repository=OuterRef("pk"), deleted_at=None).order_by("-id")
    pushed_at = Coalesce(Subquery(newest.values("pushed_at")[:1]), F("updated_at"))
    return rows.annotate(last_change_at=Greatest("updated_at", pushed_at))


def named(name: str) -> Q:
    """Repositories of that full name, or of that name without their project."""
    project, slash, path = name.partition("/")
    is_full = Q(project__name=project, name=path) if slash else Q(pk__in=[])
    return is_full | Q(name=name)


def named_like(part: str) -> Q:
    """Repositories whose full name contains `part`, each piece of it by an index on a part of a name."""
    part = part.lower()
    found = Q(name__contains=part) | Q(project__in=Project.objects.filter(name__contains=part, deleted_at=None))
    if "/" not in part:
        return found
    project, _, path = part.partition("/")
    ends_so = Project.objects.filter(name__endswith=project, deleted_at=None)
    return found | Q(project__in=ends_so, name__startswith=path)


def found_repositories(visible: list[int] | None, text: str) -> list[Repository]:
    """Up to FOUND_MAX repositories of the projects (None: of all) whose full name contains the text, by name."""
    rows = repositories_in(visible).filter(named_like(text)).select_related("project")
    return list(rows.order_by("project__name", "name")[:FOUND_MAX])


def found_projects(visible: list[int] | None, text: str) -> QuerySet[Project]:
    """Up to FOUND_MAX of the projects (None: of all) whose name contains the text, by name."""
    rows = Project.objects.filter(deleted_at=None, name__contains=text.lower())
    rows = rows if visible is None else rows.filter(pk__in=visible)
    return rows.order_by("name")[:FOUND_MAX]
