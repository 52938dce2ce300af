"""`/quotas`: the storage limits of projects. A quota has the id of its project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from projects.quotas import change_limit, with_used_bytes
from registry_core.api.base import ApiView, done, find_project
from registry_core.api.messages import Answer, Body, Int64, Time, api_time, parameters_of, parse_body
from registry_core.api.openapi import CURSOR, PAGE, PAGE_SIZE, operation, query
from registry_core.api.paging import ListRules, listed
from registry_core.api.permissions import in_system
from registry_core.api.query import Exact, number_key
from registry_core.content.models import Project
from registry_core.content.staged_quota import staged_bytes
from registry_core.errors import InvalidInput, NotFound

TAG: Final = "quota"
PROJECT: Final = "project"
STORAGE: Final = "storage"
RULES: Final = ListRules(
    sorts={
        "id": "pk",
        "hard": "storage_limit_bytes",
        "hard.storage": "storage_limit_bytes",
        "used": "used_bytes",
        "used.storage": "used_bytes",
        "creation_time": "created_at",
        "update_time": "settings__updated_at",
    },
    order=("pk",),
    nullable=frozenset({"settings__updated_at"}),
)


class Quota(Answer, kw_only=True):
    """A project's limit and usage by resource: `storage` in bytes, -1 is no limit."""

    id: int
    ref: dict[str, Any]
    hard: dict[str, Int64]
    used: dict[str, Int64]
    creation_time: Time
    update_time: Time


class QuotaUpdateReq(Body):
    """The limits to set."""

    hard: dict[str, Int64] = {}


class QuotasView(ApiView):
    """`/quotas`."""

    access = {"GET": in_system("quota", "list")}

    @operation(
        "listQuotas",
        TAG,
        parameters=[
            PAGE,
            PAGE_SIZE,
            CURSOR,
            query("reference", "The kind of resource: project."),
            query("reference_id", "The id of a project: only its quota."),
            query("sort", "hard.storage, used.storage or id; a leading minus: descending."),
        ],
        answer=list[Quota],
        errors=(400, 401, 403),
    )
    def get(self, request: Request) -> Response:
        """List the quotas."""
        given = parameters_of(request)
        if given.get("reference", PROJECT) not in {"", PROJECT}:
            raise InvalidInput(f"only projects have quotas: use reference={PROJECT}")
        rows = with_used_bytes(Project.objects.filter(deleted_at=None))
        if reference_id := given.get("reference_id"):
            rows = rows.filter(number_key("pk")(Exact(reference_id)))
        return listed(request, rows, RULES, _present, load=_with_owners)


class QuotaView(ApiView):
    """`/quotas/{id}`."""

    access = {"GET": in_system("quota", "read"), "PUT": in_system("quota", "update")}

    @operation("getQuota", TAG, answer=Quota, errors=(401, 403, 404))
    def get(self, _request: Request, id: int) -> Response:
        """Get a quota."""
        return Response(_present(list(_with_owners([_living(id).pk])))[0])

    @operation("updateQuota", TAG, body=QuotaUpdateReq)
    def put(self, request: Request, id: int) -> Response:
        """Set the limit of a project."""
        hard = parse_body(request, QuotaUpdateReq).hard
        if set(hard) != {STORAGE}:
            raise InvalidInput(f"only {STORAGE} has a limit: send hard.{STORAGE}")
        change_limit(project=_living(id), limit_bytes=hard[STORAGE], cause=self.cause)
        return done()


def _living(project_id: int) -> Project:
    project = find_project(str(project_id))
    if project is None:
        raise NotFound(f"there is no quota {project_id}")
    return project


def _with_owners(keys: list[int]) -> QuerySet[Project]:
    return with_used_bytes(Project.objects.filter(pk__in=keys)).select_related("settings__owner")


def _present(projects: Sequence[Project]) -> list[Quota]:
    return [_quota(project) for project in projects]


def _quota(project: Project) -> Quota:
    settings = getattr(project, "settings", None)
    owner = settings.owner if settings else None
    return Quota(
        id=project.pk,
        ref={"id": project.pk, "name": project.name, "owner_name": owner.username if owner else ""},
        hard={STORAGE: project.storage_limit_bytes},
        used={STORAGE: project.used_bytes + staged_bytes(project.pk)},  # type: ignore[attr-defined]
        creation_time=api_time(project.created_at),
        update_time=api_time(settings.updated_at if settings else project.created_at),
    )
