"""`/projects/{project_name_or_id}/metadatas`: the settings of a project, one by one."""

from __future__ import annotations

from typing import Final

from rest_framework.request import Request
from rest_framework.response import Response

from projects.metadata import add_metadata, change_metadata, delete_metadata, metadata_of
from projects.models import ProjectSettings
from registry_core.api.base import ApiView, done
from registry_core.api.messages import parse_body
from registry_core.api.openapi import IS_NAME, operation
from registry_core.api.permissions import in_project
from registry_core.content.models import Project
from registry_core.errors import InvalidInput, NotFound

TAG: Final = "projectMetadata"
Pairs = dict[str, str]


class MetadatasView(ApiView):
    """`/projects/{project_name_or_id}/metadatas`."""

    access = {"GET": in_project("metadata", "read", "list"), "POST": in_project("metadata", "create")}

    @operation("listProjectMetadatas", TAG, parameters=[IS_NAME], answer=Pairs)
    def get(self, _request: Request, project_name_or_id: str) -> Response:
        """Show all metadata that are set."""
        return Response(_metadata(self.project))

    @operation("addProjectMetadatas", TAG, parameters=[IS_NAME], body=Pairs, errors=(400, 401, 403, 404, 409))
    def post(self, request: Request, project_name_or_id: str) -> Response:
        """Set one name that was not set."""
        name, value = _only_pair(request)
        add_metadata(project=self.project, name=name, value=value, cause=self.cause)
        return done()


class MetadataView(ApiView):
    """`/projects/{project_name_or_id}/metadatas/{meta_name}`."""

    access = {
        "GET": in_project("metadata", "read"),
        "PUT": in_project("metadata", "update"),
        "DELETE": in_project("metadata", "delete"),
    }

    @operation("getProjectMetadata", TAG, parameters=[IS_NAME], answer=Pairs)
    def get(self, _request: Request, project_name_or_id: str, meta_name: str) -> Response:
        """Show one metadata value; empty if it is not set."""
        held = _metadata(self.project)
        return Response({name: value for name, value in held.items() if name == meta_name})

    @operation("updateProjectMetadata", TAG, parameters=[IS_NAME], body=Pairs)
    def put(self, request: Request, project_name_or_id: str, meta_name: str) -> Response:
        """Change a metadata value that is set."""
        name, value = _only_pair(request)
        if name != meta_name:
            raise InvalidInput(f"the URL names {meta_name[:64]} and the body {name[:64]}: use the same name in both")
        if name not in _metadata(self.project):
            raise NotFound(f"{name[:64]} is not set: add it with POST first")
        change_metadata(project=self.project, values={name: value}, cause=self.cause)
        return done()

    @operation("deleteProjectMetadata", TAG, parameters=[IS_NAME])
    def delete(self, _request: Request, project_name_or_id: str, meta_name: str) -> Response:
        """Remove a metadata value, if it is set."""
        delete_metadata(project=self.project, name=meta_name, cause=self.cause)
        return done()


def _metadata(project: Project) -> Pairs:
    return metadata_of(project, ProjectSettings.objects.filter(project=project).first())


def _only_pair(request: Request) -> tuple[str, str]:
    pairs = parse_body(request, Pairs)
    if len(pairs) != 1:
        raise InvalidInput('send one name with its value, such as {"auto_scan": "true"}')
    return next(iter(pairs.items()))
