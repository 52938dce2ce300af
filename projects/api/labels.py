"""`/labels`, and labels on artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.db.models import Q, QuerySet
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from projects import labels
from projects.api.artifact_messages import Label as LabelAnswer
from projects.api.artifact_messages import LabelId
from projects.api.content import ArtifactView
from projects.models import Label
from registry_core.api.base import ApiView, created, done, find_project
from registry_core.api.messages import Body, Text, api_time, parameters_of, parse_body
from registry_core.api.openapi import PAGED, operation, query
from registry_core.api.paging import ListRules, listed
from registry_core.api.permissions import SIGNED_IN, in_project, permissions_in
from registry_core.api.query import Exact, Fuzzy, Match, number_key, text_key, time_key
from registry_core.content.models import Project
from registry_core.distribution.rights import is_sysadmin, may_in_system
from registry_core.errors import InvalidInput, NotFound

TAG: Final = "label"
GLOBAL: Final = "g"
OF_PROJECT: Final = "p"
NAME: Final = text_key("name")


def _scope_key(match: Match) -> Q:
    if match not in (Exact(GLOBAL), Exact(OF_PROJECT)):
        raise InvalidInput("use scope=g or scope=p")
    return Q(project__isnull=match == Exact(GLOBAL))


RULES: Final = ListRules(
    keys={
        "id": number_key("pk"),
        "name": NAME,
        "description": text_key("description"),
        "color": text_key("color"),
        "scope": _scope_key,
        "project_id": number_key("project_id"),
        "creation_time": time_key("created_at"),
        "update_time": time_key("updated_at"),
    },
    sorts={
        "id": "pk",
        "name": "name",
        "description": "description",
        "color": "color",
        "creation_time": "created_at",
        "update_time": "updated_at",
    },
    order=("pk",),
)


class LabelRequest(Body):
    """A label to create or change. Scope and project are only used when it is created."""

    name: Text = ""
    description: Text = ""
    color: Text = ""
    scope: str = ""
    project_id: int | None = None
    id: int | None = None
    creation_time: str | None = None
    update_time: str | None = None


class LabelsView(ApiView):
    """`/labels`."""

    access = {"GET": SIGNED_IN, "POST": SIGNED_IN}

    @operation(
        "ListLabels",
        TAG,
        parameters=[
            *PAGED,
            query("name", "Labels whose name contains this."),
            query("scope", "g: global labels, p: labels of a project.", default=GLOBAL),
            query("project_id", "The project, with the scope p.", int),
        ],
        answer=list[LabelAnswer],
        errors=(400, 401, 403),
    )
    def get(self, request: Request) -> Response:
        """List global labels, or those of a project."""
        given = parameters_of(request)
        rows = self._of_scope(given.get("scope") or GLOBAL, given.get("project_id", ""))
        if name := given.get("name"):
            rows = rows.filter(NAME(Fuzzy(name)))
        return listed(request, rows, RULES, _present)

    @operation("CreateLabel", TAG, body=LabelRequest, status=201, errors=(400, 401, 403, 409))
    def post(self, request: Request) -> Response:
        """Create a global label (administrators), or one in a project."""
        asked = parse_body(request, LabelRequest)
        if asked.scope not in {GLOBAL, OF_PROJECT}:
            raise InvalidInput("scope is g for global labels, or p for labels of a project")
        project = None if asked.scope == GLOBAL else self._project(str(asked.project_id or ""))
        _demand(self, project, "create")
        made = labels.create_label(
            project=project, name=asked.name, description=asked.description, color=asked.color, cause=self.cause
        )
        return created(f"{request.path}/{made.pk}")

    def _of_scope(self, scope: str, project_id: str) -> QuerySet[Label]:
        if scope == GLOBAL:
            return Label.objects.filter(project=None)
        if scope != OF_PROJECT:
            raise InvalidInput("scope is g for global labels, or p for labels of a project")
        project = self._project(project_id)
        _demand(self, project, "list")
        return Label.objects.filter(project=project)

    def _project(self, project_id: str) -> Project:
        """The project with that id. One that the caller may not see is reported as nonexistent."""
        if not project_id.isascii() or not project_id.isdigit() or len(project_id) > 18:
            raise InvalidInput("scope p needs project_id, the number of a project")
        project = find_project(project_id)
        if project is None:
            permissions_in(self.subject, None, named=project_id)  # the same work as for an existing project
            if is_sysadmin(self.subject):
                raise NotFound(f"there is no project {project_id}")
            raise _refusal()
        return project


class LabelView(ApiView):
    """`/labels/{label_id}`."""

    access = {"GET": SIGNED_IN, "PUT": SIGNED_IN, "DELETE": SIGNED_IN}

    @operation("GetLabelByID", TAG, answer=LabelAnswer)
    def get(self, _request: Request, label_id: int) -> Response:
        """Get a label."""
        return Response(_answer(self._label(label_id, "read")))

    @operation("UpdateLabel", TAG, body=LabelRequest, errors=(400, 401, 403, 404, 409))
    def put(self, request: Request, label_id: int) -> Response:
        """Change a label's name, description and colour."""
        label, asked = self._label(label_id, "update"), parse_body(request, LabelRequest)
        labels.update_label(
            label=label, name=asked.name, description=asked.description, color=asked.color, cause=self.cause
        )
        return done()

    @operation("DeleteLabel", TAG)
    def delete(self, _request: Request, label_id: int) -> Response:
        """Delete a label and remove it from all artifacts."""
        labels.delete_label(label=self._label(label_id, "delete"), cause=self.cause)
        return done()

    def _label(self, label_id: int, action: str) -> Label:
        """The label, if the caller may do this with it. A label of a project that the caller may not see is reported as
        nonexistent."""
        living = Label.objects.filter(Q(project=None) | Q(project__deleted_at=None)).select_related("project")
        label = living.filter(pk=label_id).first() if label_id < 1 << 63 else None
        if label is None or (label.project and ("", "read") not in permissions_in(self.subject, label.project)):
            raise NotFound(f"there is no label {label_id}")
        _demand(self, label.project, action)
        return label


class ArtifactLabelsView(ArtifactView):
    """`…/artifacts/{reference}/labels`."""

    access = {"POST": in_project("artifact-label", "create")}

    @operation("addLabel", "artifact", body=LabelId, errors=(400, 401, 403, 404, 409))
    def post(self, request: Request, project_name: str, repository_name: str, reference: str) -> Response:
        """Attach a label to the artifact: a global one, or one of its project."""
        label_id = parse_body(request, LabelId).id
        if label_id < 1:
            raise InvalidInput("name the label by its id")
        labels.add_label(repository=self.repository_ref, artifact=self.artifact, label_id=label_id, cause=self.cause)
        return done()


class ArtifactLabelView(ArtifactView):
    """`…/artifacts/{reference}/labels/{label_id}`."""

    access = {"DELETE": in_project("artifact-label", "delete")}

    @operation("removeLabel", "artifact")
    def delete(
        self, _request: Request, project_name: str, repository_name: str, reference: str, label_id: int
    ) -> Response:
        """Remove a label from the artifact."""
        if label_id >= 1 << 63:
            raise NotFound(f"the artifact has no label {label_id}")
        labels.remove_label(repository=self.repository_ref, artifact=self.artifact, label_id=label_id, cause=self.cause)
        return done()


def _demand(view: ApiView, project: Project | None, action: str) -> None:
    """Refuse callers that may not do this with labels of the project, or (None) with global labels, which everybody may
    read."""
    if project is not None:
        is_allowed = ("label", action) in permissions_in(view.subject, project)
    else:
        is_allowed = action in {"read", "list"} or may_in_system(view.subject, "label", action)
    if not is_allowed:
        raise _refusal()


def _refusal() -> PermissionDenied:
    return PermissionDenied("not found, or you lack permission: ask an administrator for access")


def _present(found: Sequence[Label]) -> list[Any]:
    return [_answer(label) for label in found]


def _answer(label: Label) -> LabelAnswer:
    return LabelAnswer(
        id=label.pk,
        name=label.name,
        description=label.description,
        color=label.color,
        scope=GLOBAL if label.project_id is None else OF_PROJECT,
        project_id=label.project_id or 0,
        creation_time=api_time(label.created_at),
        update_time=api_time(label.updated_at),
    )
