"""What the console's pages read: one query per list, each walking an index from where the page before ended.

Lists are ordered by name (bytes) and paged by the last name seen, so that page one and page ten thousand cost the same.
Counts stop at `COUNT_MAX`: a page says "1,000+" rather than count a million rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import Http404

from registry_core.access import Subject, authority
from registry_core.content.counting import BoundedCount
from registry_core.content.models import Artifact, Project, Repository, Tag

PAGE_ROWS: Final = 50
COUNT_MAX: Final = 1000

Row = TypeVar("Row", bound=Project | Repository | Tag)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list page was asked for: names that contain `search`, after the name `after`."""

    search: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """The rows of one page. `next_after` is where the next one begins; empty on the last."""

    rows: list[Row]
    next_after: str


def projects_page(subject: Subject, listing: Listing) -> Page[Project]:
    """The projects that the subject may pull from, each with `repository_count`."""
    projects = Project.objects.filter(deleted_at=None)
    visible = authority().pullable_projects(subject)
    if visible is not None:
        projects = projects.filter(pk__in=visible)
    living = Repository.objects.filter(project=OuterRef("pk"), deleted_at=None)
    return _page(projects, listing, lambda rows: rows.annotate(repository_count=BoundedCount(living, most=COUNT_MAX)))


def visible_project(subject: Subject, name: str) -> Project:
    """The project with that name. Raises Http404 when there is none, or none that the subject may see."""
    project = Project.objects.filter(name=name, deleted_at=None).first() if _is_storable(name) else None
    if project is None or not _may_see(subject, project.pk):
        raise Http404("no such project")
    return project


def repositories_page(project: Project, listing: Listing) -> Page[Repository]:
    """The project's repositories, each with `tag_count`, `artifact_count` and `last_push` (None while empty)."""
    tags = Tag.objects.filter(repository=OuterRef("pk"), deleted_at=None)
    artifacts = Artifact.objects.filter(repository=OuterRef("pk"), deleted_at=None)

    def counted(rows: QuerySet[Repository]) -> QuerySet[Repository]:
        return rows.annotate(
            tag_count=BoundedCount(tags, most=COUNT_MAX),
            artifact_count=BoundedCount(artifacts, most=COUNT_MAX),
            last_push=Subquery(artifacts.order_by("-id").values("pushed_at")[:1]),
        )

    return _page(Repository.objects.filter(project=project, deleted_at=None), listing, counted)


def visible_repository(subject: Subject, *, project: str, name: str) -> Repository:
    """The repository `name` of a project, with its project. Raises Http404 as `visible_project` does."""
    living = Repository.objects.filter(deleted_at=None, project__deleted_at=None).select_related("project")
    repository = living.filter(project__name=project, name=name).first() if _is_storable(project + name) else None
    if repository is None or not _may_see(subject, repository.project_id):
        raise Http404("no such repository")
    return repository


def tags_page(repository: Repository, listing: Listing) -> Page[Tag]:
    """The repository's tags, each with its artifact."""
    tags = Tag.objects.filter(repository=repository, deleted_at=None)
    return _page(tags, listing, lambda rows: rows.select_related("artifact"))


def _page(rows: QuerySet[Row], listing: Listing, annotated: Callable[[QuerySet[Row]], QuerySet[Row]]) -> Page[Row]:
    wanted = Q(name__contains=listing.search) if listing.search else Q()
    if listing.after:
        wanted &= Q(name__gt=listing.after)
    found = list(annotated(rows.filter(wanted).order_by("name"))[: PAGE_ROWS + 1])
    shown = found[:PAGE_ROWS]
    return Page(shown, shown[-1].name if len(found) > PAGE_ROWS else "")


def _may_see(subject: Subject, project_id: int) -> bool:
    visible = authority().pullable_projects(subject)
    return visible is None or project_id in visible


def _is_storable(name: str) -> bool:
    """Whether Postgres can hold that text at all."""
    return "\x00" not in name
