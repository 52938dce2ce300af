"""`…/artifacts/{reference}/hold` and `/projects/{project_name_or_id}/holds`: legal holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from projects.api.content import ArtifactView
from projects.holds.operations import release_hold, set_hold
from projects.models import Hold
from registry_core.api.base import ApiView, done
from registry_core.api.messages import Answer, Body, Text, Time, api_time, parse_body
from registry_core.api.openapi import IS_NAME, PAGED, operation
from registry_core.api.paging import ListRules, listed
from registry_core.api.permissions import in_project
from registry_core.api.query import number_key, text_key, time_key
from registry_core.digests import Digest
from registry_core.errors import NotFound

TAG: Final = "hold"
READ: Final = in_project("immutable-tag", "list")
RULES: Final = ListRules(
    keys={
        "artifact_id": number_key("pk"),
        "repository_id": number_key("repository_id"),
        "reason": text_key("reason"),
        "set_by": text_key("subject_name"),
        "set_time": time_key("set_at"),
    },
    sorts={"artifact_id": "pk", "set_time": "set_at"},
    order=("-set_at",),
)


class HoldRequest(Body):
    """A legal hold to set. `reason`: why; who may manage immutability rules can read it."""

    reason: Text


class HoldAnswer(Answer):
    """A legal hold: why, who set it, and when."""

    artifact_id: int
    digest: str
    repository_id: int
    repository_name: str
    reason: str
    set_by: str
    set_time: Time


class HoldView(ArtifactView):
    """`…/artifacts/{reference}/hold`."""

    access = {
        "GET": READ,
        "PUT": in_project("immutable-tag", "create"),
        "DELETE": in_project("immutable-tag", "delete"),
    }

    @operation("getHold", TAG, answer=HoldAnswer)
    def get(self, _request: Request, project_name: str, repository_name: str, reference: str) -> Response:
        """Get the legal hold of the artifact. 404 if there is none."""
        hold = _load([self.artifact.pk]).first()
        if hold is None:
            raise NotFound(f"{self.repository_ref.name}@{self.digest} is not under legal hold")
        return Response(_answer(hold))

    @operation("setHold", TAG, body=HoldRequest)
    def put(self, request: Request, project_name: str, repository_name: str, reference: str) -> Response:
        """Set a legal hold on the artifact, or change its reason: nothing deletes the artifact or its tags."""
        reason = parse_body(request, HoldRequest).reason
        set_hold(repository=self.repository_ref, digest=self.digest, reason=reason, cause=self.cause)
        return done()

    @operation("releaseHold", TAG)
    def delete(self, _request: Request, project_name: str, repository_name: str, reference: str) -> Response:
        """Release the legal hold of the artifact."""
        release_hold(repository=self.repository_ref, digest=self.digest, cause=self.cause)
        return done()


class HoldsView(ApiView):
    """`/projects/{project_name_or_id}/holds`."""

    access = {"GET": READ}

    @operation("listHolds", TAG, parameters=[IS_NAME, *PAGED], answer=list[HoldAnswer])
    def get(self, request: Request, project_name_or_id: str) -> Response:
        """List the artifacts of the project that are under legal hold, the last one first."""
        return listed(request, Hold.objects.filter(project_id=self.project.pk), RULES, _present, load=_load)


def _load(keys: list[int]) -> QuerySet[Hold]:
    return Hold.objects.filter(pk__in=keys).select_related("artifact", "repository__project")


def _present(holds: Sequence[Hold]) -> list[Any]:
    return [_answer(hold) for hold in holds]


def _answer(hold: Hold) -> HoldAnswer:
    return HoldAnswer(
        artifact_id=hold.artifact_id,
        digest=str(Digest(bytes(hold.artifact.digest))),
        repository_id=hold.repository_id,
        repository_name=str(hold.repository),
        reason=hold.reason,
        set_by=hold.subject_name,
        set_time=api_time(hold.set_at),
    )
