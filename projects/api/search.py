"""`/search` and `/icons`: search by a part of a name, and pictures."""

from __future__ import annotations

import base64

import msgspec
from rest_framework.request import Request
from rest_framework.response import Response

from projects.api.project_messages import ProjectAnswer
from projects.api.projects import present_projects, projects_with_details
from projects.artifact_lists import artifact_counts
from projects.icons import find_icon
from projects.repository_lists import found_projects, found_repositories
from registry_core.api.base import ApiView
from registry_core.api.messages import Answer, parameters_of
from registry_core.api.openapi import operation, query
from registry_core.api.permissions import ANYONE
from registry_core.content.models import Repository
from registry_core.digests import Digest
from registry_core.distribution.rights import pullable_projects
from registry_core.errors import InvalidInput
from registry_core.names import NAME_MAX


class SearchRepository(Answer):
    """A repository that was found."""

    project_id: int
    project_name: str
    project_public: bool
    repository_name: str
    pull_count: int
    artifact_count: int


class Search(Answer):
    """Search results: at most a hundred of each kind, by name."""

    project: list[ProjectAnswer]
    repository: list[SearchRepository]


class IconAnswer(Answer):
    """A picture, in base64."""

    content: str
    content_type: str = msgspec.field(name="content-type")


class SearchView(ApiView):
    """`/search`."""

    access = {"GET": ANYONE}

    @operation(
        "search",
        "search",
        parameters=[query("q", "A part of a project's or a repository's name.", required=True)],
        answer=Search,
        errors=(400, 401),
    )
    def get(self, request: Request) -> Response:
        """Find projects and repositories that the caller may see by a part of their names."""
        text = parameters_of(request).get("q", "")
        if len(text) > NAME_MAX:
            raise InvalidInput(f"q has at most {NAME_MAX} characters")
        visible = pullable_projects(self.subject)
        projects = projects_with_details(found_projects(visible, text).values("pk")).order_by("name")
        return Response(
            Search(project=present_projects(self.subject, list(projects)), repository=_repositories(visible, text))
        )


class IconView(ApiView):
    """`/icons/{digest}`."""

    access = {"GET": ANYONE}

    @operation("getIcon", "icon", answer=IconAnswer, errors=(400, 401, 403, 404))
    def get(self, _request: Request, digest: str) -> Response:
        """Get the picture of an artifact, or of a kind of artifact."""
        icon = find_icon(digest=Digest.parse(digest), cause=self.cause)
        return Response(IconAnswer(content=base64.b64encode(icon.content).decode(), content_type=icon.media_type))


def _repositories(visible: list[int] | None, text: str) -> list[SearchRepository]:
    found = found_repositories(visible, text)
    counts = artifact_counts(repository.pk for repository in found)
    return [_repository(repository, counts.get(repository.pk, 0)) for repository in found]


def _repository(repository: Repository, artifact_count: int) -> SearchRepository:
    return SearchRepository(
        project_id=repository.project_id,
        project_name=repository.project.name,
        project_public=repository.project.is_public,
        repository_name=f"{repository.project.name}/{repository.name}",
        pull_count=repository.pull_count,
        artifact_count=artifact_count,
    )
