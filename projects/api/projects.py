"""`/projects`: list, create, get, change and delete them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from django.db.models import OuterRef, Q, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from projects.api.project_messages import ProjectAnswer, ProjectDeletable, ProjectRequest, project_answer
from projects.metadata import change_metadata
from projects.services import create_project, delete_project, why_not_deletable
from rbac.models import Role
from rbac.services.permissions import memberships
from registry_core.access import Subject, SubjectKind
from registry_core.api.base import ApiView, created, done, find_project
from registry_core.api.messages import parameters_of, parse_body
from registry_core.api.openapi import IS_NAME, PAGED, header, operation, query
from registry_core.api.paging import COUNT_MAX, ListRules, listed
from registry_core.api.permissions import ANYONE, SIGNED_IN, in_project
from registry_core.api.query import (
    Condition,
    Exact,
    Fuzzy,
    Match,
    fixed_key,
    number_key,
    text_key,
    time_key,
    truth,
    truth_key,
)
from registry_core.content.counting import BoundedCount
from registry_core.content.models import Project, Repository
from registry_core.distribution.rights import is_sysadmin, may_in_system, pullable_projects
from registry_core.errors import InvalidInput, NotFound

TAG: Final = "project"


def _owner_key(match: Match) -> Q:
    if not isinstance(match, Exact):
        raise InvalidInput("use owner=name")
    return Q(settings__owner__username=match.value)


KEYS: Final[dict[str, Condition]] = {
    "project_id": number_key("pk"),
    "name": text_key("name", is_lower=True),
    "public": truth_key("is_public"),
    "owner": _owner_key,
    "owner_id": number_key("settings__owner_id"),
    "creation_time": time_key("created_at"),
    "update_time": time_key("settings__updated_at"),
    "registry_id": fixed_key(0),  # proxy caches are not supported yet
    "deleted": fixed_key(False),
}
RULES: Final = ListRules(
    keys=KEYS,
    sorts={
        "name": "name",
        "project_id": "pk",
        "creation_time": "created_at",
        "update_time": "settings__updated_at",
        "owner_id": "settings__owner_id",
    },
    order=("name",),
    nullable=frozenset({"settings__updated_at", "settings__owner_id"}),
)


class ProjectsView(ApiView):
    """`/projects`."""

    access = {"GET": ANYONE, "HEAD": SIGNED_IN, "POST": SIGNED_IN}

    @operation(
        "listProjects",
        TAG,
        parameters=[
            *PAGED,
            query("name", "Projects whose name contains this."),
            query("public", "true: only public projects, false: only private ones.", bool),
            query("owner", "Only those of this user."),
            query("with_detail", "Include metadata and counts; true by default.", bool, default=True),
        ],
        answer=list[ProjectAnswer],
        errors=(400, 401),
    )
    def get(self, request: Request) -> Response:
        """List the projects that the caller may see."""
        given = parameters_of(request)
        rows = listable_projects(self.subject)
        if name := given.get("name"):
            rows = rows.filter(KEYS["name"](Fuzzy(name)))
        if public := given.get("public"):
            rows = rows.filter(is_public=truth(Exact(public)))
        if owner := given.get("owner"):
            rows = rows.filter(_owner_key(Exact(owner)))
        return listed(
            request, rows, RULES, lambda found: present_projects(self.subject, found), load=projects_with_details
        )

    @operation(
        "headProject",
        TAG,
        parameters=[query("project_name", "The name to look for.", required=True)],
        errors=(400, 401, 404),
    )
    def head(self, request: Request) -> Response:
        """Check whether a project name exists: 200 or 404."""
        name = request.query_params.get("project_name", "")
        if not name:
            raise InvalidInput("name the project: ?project_name=")
        if find_project(name, is_name=True) is None:
            raise NotFound(f"there is no project {name}")
        return done()

    @operation(
        "createProject",
        TAG,
        parameters=[header("X-Resource-Name-In-Location", "true: Location has the project's name.", bool)],
        body=ProjectRequest,
        status=201,
        errors=(400, 401, 403, 409),
    )
    def post(self, request: Request) -> Response:
        """Create a project; its creator becomes projectAdmin."""
        asked = parse_body(request, ProjectRequest)
        project = create_project(
            name=asked.project_name,
            is_public=asked.is_public or False,
            cause=self.cause,
            storage_limit_bytes=asked.storage_limit_bytes(self.subject),
            values=asked.values(),
            cve_allowlist=asked.allowlist(),
        )
        is_named = request.META.get("HTTP_X_RESOURCE_NAME_IN_LOCATION", "").lower() == "true"
        return created(f"{request.path}/{project.name if is_named else project.pk}")


class ProjectView(ApiView):
    """`/projects/{project_name_or_id}`."""

    access = {"GET": in_project("", "read"), "PUT": in_project("", "update"), "DELETE": in_project("", "delete")}

    @operation("getProject", TAG, parameters=[IS_NAME], answer=ProjectAnswer)
    def get(self, _request: Request, project_name_or_id: str) -> Response:
        """Get a project."""
        return Response(present_projects(self.subject, [projects_with_details([self.project.pk]).get()])[0])

    @operation("updateProject", TAG, parameters=[IS_NAME], body=ProjectRequest)
    def put(self, request: Request, project_name_or_id: str) -> Response:
        """Change the metadata in the request; others are unchanged."""
        asked = parse_body(request, ProjectRequest)
        change_metadata(project=self.project, values=asked.values(), cve_allowlist=asked.allowlist(), cause=self.cause)
        return done()

    @operation("deleteProject", TAG, parameters=[IS_NAME], errors=(400, 401, 403, 404, 412))
    def delete(self, _request: Request, project_name_or_id: str) -> Response:
        """Delete an empty project."""
        delete_project(project=self.project, cause=self.cause)
        return done()


class DeletableView(ApiView):
    """`/projects/{project_name_or_id}/_deletable`."""

    access = {"GET": in_project("", "delete")}

    @operation("getProjectDeletable", TAG, parameters=[IS_NAME], answer=ProjectDeletable)
    def get(self, _request: Request, project_name_or_id: str) -> Response:
        """Check whether the project can be deleted; if not, the reason."""
        obstacle = why_not_deletable(self.project)
        return Response(ProjectDeletable(deletable=not obstacle, message=obstacle))


def visible_projects(subject: Subject) -> QuerySet[Project]:
    """The living projects that the subject may see."""
    living = Project.objects.filter(deleted_at=None)
    visible = pullable_projects(subject)
    return living if visible is None else living.filter(pk__in=visible)


def listable_projects(subject: Subject) -> QuerySet[Project]:
    """The projects that the subject may list. Robots may have the right to list all of them."""
    if subject.kind is SubjectKind.ROBOT and may_in_system(subject, "project", "list"):
        return Project.objects.filter(deleted_at=None)
    return visible_projects(subject)


def present_projects(subject: Subject, projects: Sequence[Project]) -> list[ProjectAnswer]:
    """The messages for projects, with the subject's own roles in each."""
    roles = _roles_in(subject, [project.pk for project in projects])
    return [project_answer(project, roles[project.pk]) for project in projects]


def projects_with_details(keys: list[int] | QuerySet[Project, Any]) -> QuerySet[Project]:
    """The projects with these ids, or those of a query, with what `present_projects` needs."""
    living = Repository.objects.filter(project=OuterRef("pk"), deleted_at=None)
    rows = Project.objects.filter(pk__in=keys).select_related("settings__owner")
    return rows.annotate(repo_count=BoundedCount(living, most=COUNT_MAX))


def _roles_in(subject: Subject, project_ids: list[int]) -> dict[int, list[int]]:
    """The subject's roles by project, the highest first; administrators have projectAdmin everywhere."""
    roles: dict[int, list[int]] = defaultdict(list)
    if is_sysadmin(subject):
        return defaultdict(lambda: [int(Role.PROJECT_ADMIN)])
    if subject.kind is SubjectKind.USER:
        held = memberships(subject.id).filter(project_id__in=project_ids).values_list("project_id", "role").distinct()
        for project_id, role in held:
            roles[project_id].append(role)
    return roles
