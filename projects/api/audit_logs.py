"""The audit log, of the whole registry or of one project, in full and in the older form that covers content only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from django.db.models import Max, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from projects.api.projects import TAG as PROJECT_TAG
from projects.audit.mapping import event_types
from projects.audit.models import AuditEntry
from projects.events import AuditLogRead
from rbac.models import RobotPermission
from rbac.roles import ROLE_PERMISSIONS
from rbac.services.permissions import memberships
from registry_core.access import Subject, SubjectKind
from registry_core.api.base import ApiView
from registry_core.api.messages import Answer, Time, api_time
from registry_core.api.openapi import PAGED, operation
from registry_core.api.paging import COUNT_MAX, ListRules, counted, listed
from registry_core.api.permissions import SIGNED_IN, Permission, in_project, permissions_in
from registry_core.api.query import number_key, text_key, time_key, truth_key
from registry_core.caching.cache import Cache
from registry_core.content.counting import bounded_count
from registry_core.content.models import Project
from registry_core.distribution.rights import may_in_system

TAG: Final = "auditlog"
LOG_LIST: Final[Permission] = ("log", "list")
# The same kinds as in the index `auditentry_content`.
CONTENT_TYPES: Final = ("artifact", "tag", "repository", "project")
CONTENT_OPERATIONS: Final = ("create", "delete", "pull")
RULES: Final = ListRules(
    keys={
        "id": number_key("pk"),
        "username": text_key("username"),
        "resource": text_key("resource"),
        "resource_type": text_key("resource_type"),
        "operation": text_key("operation"),
        "operation_result": truth_key("is_success"),
        "op_result": truth_key("is_success"),
        "operation_description": text_key("description"),
        "op_desc": text_key("description"),
        "project_id": number_key("project_id"),
        "op_time": time_key("op_time"),
    },
    sorts={
        "op_time": "op_time",
        "creation_time": "op_time",
        "id": "pk",
        "username": "username",
        "operation": "operation",
        "resource": "resource",
        "resource_type": "resource_type",
    },
    order=("-op_time", "-pk"),
)
LONG_FOR_S: Final = 60.0
_long_cache: Cache[bool] = Cache("long logs", share=1 / 128)


class AuditLog(Answer, kw_only=True):
    """A push, pull or deletion in the older form."""

    id: int
    username: str
    resource: str
    resource_type: str
    operation: str
    op_time: Time


class AuditLogExt(AuditLog, kw_only=True):
    """An entry of the audit log."""

    operation_description: str
    operation_result: bool


class AuditLogEventType(Answer):
    """A kind of entry, as the setting `disabled_audit_log_event_types` names it."""

    event_type: str


class AuditLogsView(ApiView):
    """`/audit-logs`."""

    access = {"GET": SIGNED_IN}

    def recorded_read(self) -> AuditLogRead:
        """The log that the caller may see."""
        return AuditLogRead(name="the audit log")

    @operation("listAuditLogs", TAG, parameters=PAGED, answer=list[AuditLog], errors=(400, 401))
    def get(self, request: Request) -> Response:
        """List pushes, pulls and deletions in the projects whose log the caller may see."""
        return _listed(request, _of_content(visible_entries(self.subject)), _older, which=f"content {self.subject.key}")


class AuditLogExtsView(ApiView):
    """`/auditlog-exts`."""

    access = {"GET": SIGNED_IN}

    def recorded_read(self) -> AuditLogRead:
        """The log that the caller may see."""
        return AuditLogRead(name="the audit log")

    @operation("listAuditLogExts", TAG, parameters=PAGED, answer=list[AuditLogExt], errors=(400, 401))
    def get(self, request: Request) -> Response:
        """List entries of the projects whose log the caller may see; administrators see all."""
        return _listed(request, visible_entries(self.subject), _entry, which=f"all {self.subject.key}")


class EventTypesView(ApiView):
    """`/auditlog-exts/events`."""

    access = {"GET": SIGNED_IN}

    @operation("listAuditLogEventTypes", TAG, answer=list[AuditLogEventType], errors=(401, 403))
    def get(self, _request: Request) -> Response:
        """List the kinds of entries."""
        return Response([AuditLogEventType(event_type=name) for name in event_types()])


class ProjectLogsView(ApiView):
    """`/projects/{project_name}/logs`."""

    access = {"GET": in_project(*LOG_LIST)}

    def recorded_read(self) -> AuditLogRead:
        """The log of the project."""
        return AuditLogRead(name=f"the audit log of {self.named_project}")

    @operation("getLogs", PROJECT_TAG, parameters=PAGED, answer=list[AuditLog], errors=(400, 401, 403))
    def get(self, request: Request, project_name: str) -> Response:
        """List pushes, pulls and deletions in a project."""
        return _listed(request, _of_content(_of_project(self.project)), _older, which=f"content {self.project.pk}")


class ProjectLogExtsView(ApiView):
    """`/projects/{project_name}/auditlog-exts`."""

    access = {"GET": in_project(*LOG_LIST)}

    def recorded_read(self) -> AuditLogRead:
        """The log of the project."""
        return AuditLogRead(name=f"the audit log of {self.named_project}")

    @operation("getLogExts", PROJECT_TAG, parameters=PAGED, answer=list[AuditLogExt], errors=(400, 401, 403))
    def get(self, request: Request, project_name: str) -> Response:
        """List the entries of a project."""
        return _listed(request, _of_project(self.project), _entry, which=f"all {self.project.pk}")


def visible_entries(subject: Subject) -> QuerySet[AuditEntry]:
    """The entries that the subject may read: all, or those of the projects whose log it may list."""
    entries = AuditEntry.objects.all()
    if may_in_system(subject, "audit-log", "list"):
        return entries
    return entries.filter(project_id__in=_projects_with_log(subject))


def _projects_with_log(subject: Subject) -> list[int]:
    if subject.kind is SubjectKind.USER:
        roles = [role for role, held in ROLE_PERMISSIONS.items() if LOG_LIST in held]
        rows = memberships(subject.id).filter(role__in=roles, project__deleted_at=None)
        return list(rows.values_list("project_id", flat=True).distinct())
    given = RobotPermission.objects.filter(robot=subject.id, resource=LOG_LIST[0], action=LOG_LIST[1])
    projects = Project.objects.filter(pk__in=given.values("project_id"), deleted_at=None)
    return [project.pk for project in projects if LOG_LIST in permissions_in(subject, project)]


def _of_project(project: Project) -> QuerySet[AuditEntry]:
    return AuditEntry.objects.filter(project_id=project.pk)


def _of_content(entries: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
    return entries.filter(resource_type__in=CONTENT_TYPES, operation__in=CONTENT_OPERATIONS)


def _listed(
    request: Request, rows: QuerySet[AuditEntry], present: Callable[[AuditEntry], Any], *, which: str
) -> Response:
    """A page of `rows`, which are entries of the log identified by `which`."""

    def presented(found: Sequence[AuditEntry]) -> list[Any]:
        return [present(entry) for entry in found]

    def count(rows: QuerySet[AuditEntry], q: str) -> int:
        return counted(rows) if q else _count(rows, which)

    return listed(request, rows, RULES, presented, count=count)


def _count(rows: QuerySet[AuditEntry], which: str) -> int:
    """The number of entries: exact up to a limit, beyond that an upper bound derived from the ids, which are given out
    once.

    That a log is long is cached: it hardly ever becomes short again, and checking costs more than a page of it.
    """
    if _long_cache.get(which) is None:
        few = bounded_count(rows, most=COUNT_MAX)
        if few <= COUNT_MAX:
            return few
        _long_cache.put(which, True, seen=(), ttl_s=LONG_FOR_S)
    return int(AuditEntry.objects.aggregate(last=Max("pk"))["last"] or 0)


def _older(entry: AuditEntry) -> AuditLog:
    return AuditLog(**_common(entry))


def _entry(entry: AuditEntry) -> AuditLogExt:
    return AuditLogExt(**_common(entry), operation_description=entry.description, operation_result=entry.is_success)


def _common(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": entry.pk,
        "username": entry.username,
        "resource": entry.resource,
        "resource_type": entry.resource_type,
        "operation": entry.operation,
        "op_time": api_time(entry.op_time),
    }
