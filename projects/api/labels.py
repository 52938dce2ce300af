"""`/labels`, and labels on artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

from django.db.models import Q
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
from registry_core.api.permissions import SIGNED_IN, Computed, Rule, in_project, in_system, permissions_in
from registry_core.api.query import Exact, Fuzzy, Match, number_key, text_key, time_key
from registry_core.content.models import Project
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

    access = {"GET": Computed(lambda view: view.rule("list")), "POST": Computed(lambda view: view.rule("create"))}

    @cached_property
    def asked(self) -> LabelRequest:
        """The label to create, from the body."""
        return parse_body(self.request, LabelRequest)

    @cached_property
    def named_project(self) -> str:
        """The id of the project whose labels are meant; empty for global ones. Raises InvalidInput."""
        if self.request.method == "POST":
            return _project_id(self.asked.scope, str(self.asked.project_id or ""))
        given = parameters_of(self.request)
        return _project_id(given.get("scope") or GLOBAL, given.get("project_id", ""))

    @cached_property
    def found_project(self) -> Project | None:
        """The living project of that id; None if there is none."""
        return find_project(self.named_project) if self.named_project else None

    def rule(self, action: str) -> Rule:
        """The permission on labels of that project, or on global ones."""
        return _rule(action, is_global=not self.named_project)

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
        rows = Label.objects.filter(project=self.project if self.named_project else None)
        if name := parameters_of(request).get("name"):
            rows = rows.filter(NAME(Fuzzy(name)))
        return listed(request, rows, RULES, _present)

    @operation("CreateLabel", TAG, body=LabelRequest, status=201, errors=(400, 401, 403, 409))
    def post(self, request: Request) -> Response:
        """Create a global label (administrators), or one in a project."""
        asked = self.asked
        made = labels.create_label(
            project=self.project if self.named_project else None,
            name=asked.name,
            description=asked.description,
            color=asked.color,
            cause=self.cause,
        )
        return created(f"{request.path}/{made.pk}")


class LabelView(ApiView):
    """`/labels/{label_id}`."""

    access = {
        "GET": Computed(lambda view: view.rule("read")),
        "PUT": Computed(lambda view: view.rule("update")),
        "DELETE": Computed(lambda view: view.rule("delete")),
    }

    @cached_property
    def label(self) -> Label:
        """The label of the URL. One of a project that the caller may not see is reported as nonexistent: NotFound."""
        label_id = self.kwargs["label_id"]
        living = Label.objects.filter(Q(project=None) | Q(project__deleted_at=None)).select_related("project")
        label = living.filter(pk=label_id).first() if label_id < 1 << 63 else None
        if label is None or (label.project and ("", "read") not in permissions_in(self.subject, label.project)):
            raise NotFound(f"there is no label {label_id}")
        return label

    @cached_property
    def found_project(self) -> Project | None:
        """The label's project; None for a global label."""
        return self.label.project

    def rule(self, action: str) -> Rule:
        """The permission on labels of the label's project, or on global ones."""
        return _rule(action, is_global=self.found_project is None)

    @operation("GetLabelByID", TAG, answer=LabelAnswer)
    def get(self, _request: Request, label_id: int) -> Response:
        """Get a label."""
        return Response(_answer(self.label))

    @operation("UpdateLabel", TAG, body=LabelRequest, errors=(400, 401, 403, 404, 409))
    def put(self, request: Request, label_id: int) -> Response:
        """Change a label's name, description and colour."""
        label, asked = self.label, parse_body(request, LabelRequest)
        labels.update_label(
            label=label, name=asked.name, description=asked.description, color=asked.color, cause=self.cause
        )
        return done()

    @operation("DeleteLabel", TAG)
    def delete(self, _request: Request, label_id: int) -> Response:
        """Delete a label and remove it from all artifacts."""
        labels.delete_label(label=self.label, cause=self.cause)
        return done()


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


def _rule(action: str, *, is_global: bool) -> Rule:
    """The permission for labels of a project or global ones, which every account may read."""
    if not is_global:
        return in_project("label", action)
    return SIGNED_IN if action in {"read", "list"} else in_system("label", action)


def _project_id(scope: str, project_id: str) -> str:
    """The id of the project that a request for labels names; empty for the global ones. Raises InvalidInput."""
    if scope not in {GLOBAL, OF_PROJECT}:
        raise InvalidInput("scope is g for global labels, or p for labels of a project")
    if scope == GLOBAL:
        return ""
    if not project_id.isascii() or not project_id.isdigit() or len(project_id) > 18:
        raise InvalidInput("scope p needs project_id, the number of a project")
    return project_id


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
