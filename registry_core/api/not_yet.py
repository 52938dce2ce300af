"""Operations of the contract that this release does not implement: answered 501, and marked in the schema.

Lists that clients request before doing something else are answered truthfully: they are empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from django.urls import URLPattern, path
from drf_spectacular.utils import OpenApiResponse
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from registry_core.api.base import ApiView
from registry_core.api.openapi import PAGED, Errors, described, operation, query, schema_of
from registry_core.api.paging import nothing_listed
from registry_core.api.permissions import SIGNED_IN, Rule, in_system


class Stats(msgspec.Struct):
    """Progress of a scan of all artifacts: the number of its tasks, in all, completed, and by status."""

    total: int = 0
    completed: int = 0
    ongoing: bool = False
    metrics: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class Nothing:
    """An operation with an empty answer: its access rule and its content; by default a list."""

    rule: Rule
    answer: Any = list[dict[str, Any]]
    value: Any = None


NOTHING: Final[Mapping[str, Nothing]] = {
    "listRegistries": Nothing(in_system("registry", "list")),
    "listReplicationPolicies": Nothing(in_system("replication-policy", "list")),
    "listReplicationExecutions": Nothing(in_system("replication", "list")),
    "listRegistryProviderTypes": Nothing(in_system("replication-adapter", "list"), list[str], []),
    "listRegistryProviderInfos": Nothing(in_system("replication-adapter", "list"), dict[str, Any], {}),
    "getLatestScanAllMetrics": Nothing(in_system("scan-all", "read"), Stats, Stats()),
    "getLatestScheduledScanAllMetrics": Nothing(in_system("scan-all", "read"), Stats, Stats()),
}
"""By the operation's id."""

Operations = Mapping[str, tuple[str, str]]
"""By method: the operation's id and its tag."""

_PREHEAT: Final = "projects/<str:project_name>/preheat/policies/<str:preheat_policy_name>"
_WEBHOOK: Final = "projects/<str:project_name_or_id>/webhook/policies/<int:webhook_policy_id>"
_ARTIFACT: Final = "projects/<str:project_name>/repositories/<repository:repository_name>/artifacts/<str:reference>"

OPERATIONS: Final[Mapping[str, Operations]] = {
    "ldap/ping": {
        "post": ("pingLdap", "Ldap"),
    },
    "ldap/users/search": {
        "get": ("searchLdapUser", "Ldap"),
    },
    "ldap/users/import": {
        "post": ("importLdapUser", "Ldap"),
    },
    "ldap/groups/search": {
        "get": ("searchLdapGroup", "Ldap"),
    },
    f"{_ARTIFACT}/scan": {
        "post": ("scanArtifact", "scan"),
    },
    f"{_ARTIFACT}/scan/stop": {
        "post": ("stopScanArtifact", "scan"),
    },
    f"{_ARTIFACT}/scan/<str:report_id>/log": {
        "get": ("getReportLog", "scan"),
    },
    "p2p/preheat/providers": {
        "get": ("ListProviders", "preheat"),
    },
    "p2p/preheat/instances/ping": {
        "post": ("PingInstances", "preheat"),
    },
    "p2p/preheat/instances": {
        "get": ("ListInstances", "preheat"),
        "post": ("CreateInstance", "preheat"),
    },
    "p2p/preheat/instances/<str:preheat_instance_name>": {
        "get": ("GetInstance", "preheat"),
        "delete": ("DeleteInstance", "preheat"),
        "put": ("UpdateInstance", "preheat"),
    },
    "projects/<str:project_name>/preheat/policies": {
        "post": ("CreatePolicy", "preheat"),
        "get": ("ListPolicies", "preheat"),
    },
    f"{_PREHEAT}": {
        "get": ("GetPolicy", "preheat"),
        "put": ("UpdatePolicy", "preheat"),
        "post": ("ManualPreheat", "preheat"),
        "delete": ("DeletePolicy", "preheat"),
    },
    f"{_PREHEAT}/executions": {
        "get": ("ListExecutions", "preheat"),
    },
    f"{_PREHEAT}/executions/<int:execution_id>": {
        "get": ("GetExecution", "preheat"),
        "patch": ("StopExecution", "preheat"),
    },
    f"{_PREHEAT}/executions/<int:execution_id>/tasks": {
        "get": ("ListTasks", "preheat"),
    },
    f"{_PREHEAT}/executions/<int:execution_id>/tasks/<int:task_id>/logs": {
        "get": ("GetPreheatLog", "preheat"),
    },
    "projects/<str:project_name>/preheat/providers": {
        "get": ("ListProvidersUnderProject", "preheat"),
    },
    "projects/<str:project_name_or_id>/webhook/policies": {
        "get": ("ListWebhookPoliciesOfProject", "webhook"),
        "post": ("CreateWebhookPolicyOfProject", "webhook"),
    },
    f"{_WEBHOOK}": {
        "get": ("GetWebhookPolicyOfProject", "webhook"),
        "put": ("UpdateWebhookPolicyOfProject", "webhook"),
        "delete": ("DeleteWebhookPolicyOfProject", "webhook"),
    },
    f"{_WEBHOOK}/executions": {
        "get": ("ListExecutionsOfWebhookPolicy", "webhook"),
    },
    f"{_WEBHOOK}/executions/<int:execution_id>/tasks": {
        "get": ("ListTasksOfWebhookExecution", "webhook"),
    },
    f"{_WEBHOOK}/executions/<int:execution_id>/tasks/<int:task_id>/log": {
        "get": ("GetLogsOfWebhookTask", "webhook"),
    },
    "projects/<str:project_name_or_id>/webhook/lasttrigger": {
        "get": ("LastTrigger", "webhook"),
    },
    "projects/<str:project_name_or_id>/webhook/jobs": {
        "get": ("ListWebhookJobs", "webhookjob"),
    },
    "projects/<str:project_name_or_id>/webhook/events": {
        "get": ("GetSupportedEventTypes", "webhook"),
    },
    "replication/policies": {
        "get": ("listReplicationPolicies", "replication"),
        "post": ("createReplicationPolicy", "replication"),
    },
    "replication/policies/<int:id>": {
        "get": ("getReplicationPolicy", "replication"),
        "delete": ("deleteReplicationPolicy", "replication"),
        "put": ("updateReplicationPolicy", "replication"),
    },
    "replication/executions": {
        "get": ("listReplicationExecutions", "replication"),
        "post": ("startReplication", "replication"),
    },
    "replication/executions/<int:id>": {
        "get": ("getReplicationExecution", "replication"),
        "put": ("stopReplication", "replication"),
    },
    "replication/executions/<int:id>/tasks": {
        "get": ("listReplicationTasks", "replication"),
    },
    "replication/executions/<int:id>/tasks/<int:task_id>/log": {
        "get": ("getReplicationLog", "replication"),
    },
    "replication/adapters": {
        "get": ("listRegistryProviderTypes", "registry"),
    },
    "replication/adapterinfos": {
        "get": ("listRegistryProviderInfos", "registry"),
    },
    "registries": {
        "post": ("createRegistry", "registry"),
        "get": ("listRegistries", "registry"),
    },
    "registries/ping": {
        "post": ("pingRegistry", "registry"),
    },
    "registries/<int:id>": {
        "get": ("getRegistry", "registry"),
        "delete": ("deleteRegistry", "registry"),
        "put": ("updateRegistry", "registry"),
    },
    "registries/<int:id>/info": {
        "get": ("getRegistryInfo", "registry"),
    },
    "scans/all/metrics": {
        "get": ("getLatestScanAllMetrics", "scanAll"),
    },
    "scans/schedule/metrics": {
        "get": ("getLatestScheduledScanAllMetrics", "scanAll"),
    },
    "system/oidc/ping": {
        "post": ("pingOIDC", "oidc"),
    },
    "system/scanAll/schedule": {
        "get": ("getScanAllSchedule", "scanAll"),
        "put": ("updateScanAllSchedule", "scanAll"),
        "post": ("createScanAllSchedule", "scanAll"),
    },
    "system/scanAll/stop": {
        "post": ("stopScanAll", "scanAll"),
    },
    "scanners": {
        "get": ("listScanners", "scanner"),
        "post": ("createScanner", "scanner"),
    },
    "scanners/ping": {
        "post": ("pingScanner", "scanner"),
    },
    "scanners/<str:registration_id>": {
        "get": ("getScanner", "scanner"),
        "put": ("updateScanner", "scanner"),
        "delete": ("deleteScanner", "scanner"),
        "patch": ("setScannerAsDefault", "scanner"),
    },
    "scanners/<str:registration_id>/metadata": {
        "get": ("getScannerMetadata", "scanner"),
    },
    "export/cve": {
        "post": ("exportScanData", "scan data export"),
    },
    "export/cve/execution/<int:execution_id>": {
        "get": ("getScanDataExportExecution", "scan data export"),
    },
    "export/cve/executions": {
        "get": ("getScanDataExportExecutionList", "scan data export"),
    },
    "export/cve/download/<int:execution_id>": {
        "get": ("downloadScanData", "scan data export"),
    },
    "security/summary": {
        "get": ("getSecuritySummary", "securityhub"),
    },
    "security/vul": {
        "get": ("ListVulnerabilities", "securityhub"),
    },
}


class NotYet(APIException):
    """501: known but not implemented."""

    status_code = 501
    default_detail = "this release does not implement this operation yet"


def patterns() -> list[URLPattern]:
    """The URLs, each with a view of its own."""
    return [path(address, _view(operations)) for address, operations in OPERATIONS.items()]


def _view(operations: Operations) -> Any:
    methods = {method: _method(*named) for method, named in operations.items()}
    answered = {method: NOTHING[named[0]] for method, named in operations.items() if named[0] in NOTHING}
    access = {method.upper(): answered[method].rule if method in answered else SIGNED_IN for method in operations}
    not_yet = frozenset(method.upper() for method in operations if method not in answered)
    about = {"__doc__": "Not there yet.", "access": access, "not_yet": not_yet}
    view = type("NotYetView", (ApiView,), {**about, **methods})
    return view.as_view()  # type: ignore[attr-defined]


def _method(operation_id: str, tag: str) -> Any:
    nothing = NOTHING.get(operation_id)
    return _refusing(operation_id, tag) if nothing is None else _answering(operation_id, tag, nothing)


def _answering(operation_id: str, tag: str, nothing: Nothing) -> Any:
    is_paged = nothing.value is None
    parameters = [*PAGED, query("name", "Only items with this name.")] if is_paged else []

    @operation(operation_id, tag, parameters=parameters, answer=nothing.answer, errors=(401, 403))
    def answer(_view: ApiView, request: Request, **_kwargs: Any) -> Response:
        """Answer that there is nothing yet."""
        return nothing_listed(request) if is_paged else Response(nothing.value)

    return answer


def _refusing(operation_id: str, tag: str) -> Any:
    def options() -> Mapping[str, Any]:
        return {
            "operation_id": operation_id,
            "tags": [tag],
            "request": None,
            "responses": {501: OpenApiResponse(schema_of(Errors), "Not there yet.")},
            "extensions": {"x-not-implemented": True},
        }

    @described(options)
    def refuse(_view: ApiView, _request: Request, **_kwargs: Any) -> Response:
        """Not implemented yet."""
        raise NotYet

    return refuse
