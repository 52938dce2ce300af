"""Details of one project: its summary and its scanner."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from django.db.models import Count
from rest_framework.request import Request
from rest_framework.response import Response

from projects.api.projects import TAG
from rbac.models import ProjectMember, Role
from registry_core.api.base import ApiView
from registry_core.api.messages import Answer, Body, Int64, ShortText, Time, parse_body
from registry_core.api.openapi import IS_NAME, PAGED, operation
from registry_core.api.paging import COUNT_MAX, nothing_listed
from registry_core.api.permissions import in_project, permissions_in
from registry_core.content.counting import bounded_count
from registry_core.content.models import Project, Repository
from registry_core.content.staged_quota import used_bytes
from registry_core.errors import NotFound

_COUNTED: Final = {
    Role.PROJECT_ADMIN: "project_admin_count",
    Role.MAINTAINER: "maintainer_count",
    Role.DEVELOPER: "developer_count",
    Role.GUEST: "guest_count",
    Role.LIMITED_GUEST: "limited_guest_count",
}


class ProjectSummaryQuota(Answer):
    """The project's storage limit and usage, in bytes; -1 is no limit."""

    hard: dict[str, Int64]
    used: dict[str, Int64]


class RegistryCredential(Answer):
    """The credentials for the upstream registry."""

    type: str = ""
    access_key: str = ""
    access_secret: str = ""


class Registry(Answer):
    """The upstream registry of a proxy cache project."""

    id: int = 0
    url: str = ""
    name: str = ""
    credential: RegistryCredential | None = None
    type: str = ""
    insecure: bool = False
    ca_certificate: str = ""
    description: str = ""
    status: str = ""
    creation_time: Time = ""
    update_time: Time = ""


class ProjectSummary(Answer):
    """A project in numbers. Members and quota are shown only to callers that may see them."""

    repo_count: int
    project_admin_count: int = 0
    maintainer_count: int = 0
    developer_count: int = 0
    guest_count: int = 0
    limited_guest_count: int = 0
    quota: ProjectSummaryQuota | None = None
    registry: Registry | None = None


class ScannerRegistration(msgspec.Struct, kw_only=True):
    """A scanner that can be selected."""

    uuid: str
    name: str
    description: str = ""
    url: str
    disabled: bool = False
    is_default: bool = False
    auth: str = ""
    access_credential: str = ""
    skip_certVerify: bool = False
    use_internal_addr: bool = False
    create_time: Time
    update_time: Time
    adapter: str = ""
    vendor: str = ""
    version: str = ""
    health: str = ""
    capabilities: dict[str, Any] = {}


class ProjectScanner(Body):
    """The scanner to select."""

    uuid: ShortText


class SummaryView(ApiView):
    """`/projects/{project_name_or_id}/summary`."""

    access = {"GET": in_project("", "read")}

    @operation("getProjectSummary", TAG, parameters=[IS_NAME], answer=ProjectSummary)
    def get(self, _request: Request, project_name_or_id: str) -> Response:
        """Show a project in numbers."""
        held = permissions_in(self.subject, self.project)
        members: dict[str, Any] = _member_counts(self.project) if ("member", "list") in held else {}
        quota = _quota(self.project) if ("quota", "read") in held else None
        return Response(ProjectSummary(repo_count=_repo_count(self.project), quota=quota, **members))


class ProjectScannerView(ApiView):
    """`/projects/{project_name_or_id}/scanner`."""

    access = {"GET": in_project("scanner", "read"), "PUT": in_project("scanner", "create")}

    @operation("getScannerOfProject", TAG, parameters=[IS_NAME], answer=ScannerRegistration)
    def get(self, _request: Request, project_name_or_id: str) -> Response:
        """Show which scanner the project uses: 404, because none is registered yet."""
        raise NotFound("no scanner is registered, so the project has none")

    @operation("setScannerOfProject", TAG, parameters=[IS_NAME], body=ProjectScanner)
    def put(self, request: Request, project_name_or_id: str) -> Response:
        """Select a scanner: 404, because none is registered yet."""
        wanted = parse_body(request, ProjectScanner)
        raise NotFound(f"there is no scanner {wanted.uuid}")


class ScannerCandidatesView(ApiView):
    """`/projects/{project_name_or_id}/scanner/candidates`."""

    access = {"GET": in_project("scanner", "create")}

    @operation(
        "listScannerCandidatesOfProject",
        TAG,
        parameters=[IS_NAME, *PAGED],
        answer=list[ScannerRegistration],
        errors=(400, 401, 403),
    )
    def get(self, request: Request, project_name_or_id: str) -> Response:
        """List the scanners that the project could use: none is registered yet."""
        return nothing_listed(request)


def _repo_count(project: Project) -> int:
    return bounded_count(Repository.objects.filter(project=project, deleted_at=None), most=COUNT_MAX)


def _member_counts(project: Project) -> dict[str, int]:
    counts = ProjectMember.objects.filter(project=project).order_by().values_list("role").annotate(Count("pk"))
    return {_COUNTED[Role(role)]: number for role, number in counts}


def _quota(project: Project) -> ProjectSummaryQuota:
    return ProjectSummaryQuota(hard={"storage": project.storage_limit_bytes}, used={"storage": used_bytes(project.pk)})
