"""`/repositories` and `/projects/{project_name}/repositories`: list, get, describe and delete them."""

from __future__ import annotations

from typing import Any, Final

from django.db.models import Exists, OuterRef, Q, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from projects.api.content import ContentView
from projects.artifact_lists import artifact_counts
from projects.repository_lists import named, named_like, repositories_in, repository_rows
from registry_core.api.base import ApiView, done
from registry_core.api.messages import Answer, Body, Time, parse_body
from registry_core.api.openapi import PAGED, operation
from registry_core.api.paging import ListRules, counted, keys_listed, page_response
from registry_core.api.permissions import ANYONE, in_project
from registry_core.api.query import AnyOf, Exact, Fuzzy, Match, folded, number_key, parse_q, text_key, time_key
from registry_core.caching.cache import Cache
from registry_core.content.models import RepositoryBlob
from registry_core.content.repositories import CATALOG_KEY
from registry_core.content.repository_changes import delete_repository, describe_repository
from registry_core.digests import Digest
from registry_core.distribution.rights import pullable_projects
from registry_core.errors import InvalidInput, NotFound

TAG: Final = "repository"


class RepositoryAnswer(Answer):
    """A repository. `pull_count` includes pulls of artifacts that have been deleted since."""

    id: int
    project_id: int
    name: str
    artifact_count: int
    pull_count: int
    creation_time: Time
    update_time: Time
    description: str = ""


class RepositoryRequest(Body):
    """The description to set. Other fields of the contract's message are read-only."""

    description: str = ""
    id: int | None = None
    project_id: int | None = None
    name: str | None = None
    artifact_count: int | None = None
    pull_count: int | None = None
    creation_time: str | None = None
    update_time: str | None = None


def name_key(match: Match) -> Q:
    """The name, with or without the project."""
    match match:
        case Exact(name):
            return named(name)
        case Fuzzy(part):
            return named_like(part)
        case AnyOf(names):
            return named(*names)
    raise InvalidInput("use name=v, name=~v or name={a b}")


def _blob_digest_key(match: Match) -> Q:
    """Repositories that a blob can be mounted from."""
    if not isinstance(match, Exact):
        raise InvalidInput("use blob_digest=sha256:…")
    links = RepositoryBlob.objects.filter(repository=OuterRef("pk"), blob__digest=Digest.parse(match.value).raw)
    return Q(Exists(links))


RULES: Final = ListRules(
    keys={
        "name": name_key,
        "id": number_key("pk"),
        "repository_id": number_key("pk"),
        "project_id": number_key("project_id"),
        "creation_time": time_key("created_at"),
        "update_time": time_key("changed_at"),
        "pull_count": number_key("pull_count"),
        "description": text_key("description"),
        "blob_digest": _blob_digest_key,
    },
    sorts={
        "name": "name",
        "id": "pk",
        "repository_id": "pk",
        "project_id": "project_id",
        "creation_time": "created_at",
        "update_time": "changed_at",
        "pull_count": "pull_count",
    },
)
KEPT_KEYS: Final = frozenset(map(folded, ("name", "id", "repository_id", "project_id", "creation_time")))
"""Conditions on values that never change for a repository: the count of matching rows stays valid until a repository is
created or deleted."""
TOTAL_CACHED_S: Final = 60.0
_total_cache: Cache[int] = Cache("repository totals", share=1 / 64)


class AllRepositoriesView(ApiView):
    """`/repositories`."""

    access = {"GET": ANYONE}

    @operation("listAllRepositories", TAG, parameters=PAGED, answer=list[RepositoryAnswer], errors=(400, 401))
    def get(self, request: Request) -> Response:
        """List the repositories of all projects that the caller may pull from, newest first."""
        return _listed(request, pullable_projects(self.subject))


class RepositoriesView(ContentView):
    """`/projects/{project_name}/repositories`."""

    access = {"GET": in_project("repository", "list")}

    @operation("listRepositories", TAG, parameters=PAGED, answer=list[RepositoryAnswer])
    def get(self, request: Request, project_name: str) -> Response:
        """List the repositories of the project, the newest first."""
        return _listed(request, [self.project.pk])


class RepositoryView(ContentView):
    """`/projects/{project_name}/repositories/{repository_name}`."""

    access = {
        "GET": in_project("repository", "read"),
        "PUT": in_project("repository", "update"),
        "DELETE": in_project("repository", "delete"),
    }

    @operation("getRepository", TAG, answer=RepositoryAnswer)
    def get(self, _request: Request, project_name: str, repository_name: str) -> Response:
        """Get a repository."""
        found = _present([self.repository.pk])
        if not found:
            raise NotFound(f"there is no repository {repository_name}")
        return Response(found[0])

    @operation("updateRepository", TAG, body=RepositoryRequest)
    def put(self, request: Request, project_name: str, repository_name: str) -> Response:
        """Change the description."""
        asked = parse_body(request, RepositoryRequest)
        describe_repository(repository=self.repository_ref, description=asked.description, cause=self.cause)
        return done()

    @operation("deleteRepository", TAG, errors=(400, 401, 403, 404, 412))
    def delete(self, _request: Request, project_name: str, repository_name: str) -> Response:
        """Delete a repository with all its artifacts."""
        delete_repository(repository=self.repository_ref, cause=self.cause)
        return done()


def _listed(request: Request, projects: list[int] | None) -> Response:
    """The repositories of these projects; None: of all."""

    def count(rows: QuerySet[Any], q: str) -> int:
        if not KEPT_KEYS.issuperset(parse_q(q)):
            return counted(rows)
        place = None if projects is None else tuple(projects)
        size_bytes = 256 + 4 * len(q) + 40 * len(place or ())
        return _total_cache.read_through(
            (place, q), lambda: counted(rows), depends_on=[CATALOG_KEY], size_bytes=size_bytes, ttl_s=TOTAL_CACHED_S
        )

    page = keys_listed(request, repositories_in(projects), RULES, count=count)
    return page_response(request, page, _present(page.keys))


def _present(repository_ids: list[int]) -> list[Any]:
    rows = repository_rows(repository_ids) if repository_ids else []
    counts = artifact_counts(row.id for row in rows)
    return [
        RepositoryAnswer(
            id=row.id,
            project_id=row.project_id,
            name=row.name,
            artifact_count=counts.get(row.id, 0),
            pull_count=row.pull_count,
            creation_time=row.created_at,
            update_time=row.updated_at,
            description=row.description,
        )
        for row in rows
    ]
