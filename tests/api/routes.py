"""Every address of the REST API and of the console, and what each asks of its caller.

The addresses come from Django's URL map. What they ask for stands here, written from the contract and the role table
and not from the views: an address or a method without a row, and a row without an address, is a failed test.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RegexPattern

from rbac.roles import Permission

ROOT: Final = "api/v2.0/"
_PARAMETER: Final = re.compile(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>[^)]*\)|\{(\w+)\}")


@dataclass(frozen=True)
class Need:
    """What an address asks for; `permission` is one of the role table where the scope is a project or the system."""

    scope: str
    permission: Permission = ("", "")


ANYONE: Final = Need("anyone")
SIGNED_IN: Final = Need("signed in")
SYSADMIN: Final = Need("sysadmin")
NOBODY: Final = Need("nobody")
ANY_PROJECT_ADMIN: Final = Need("administrator of a project")
"""Sysadmins, and who administers at least one project."""


def here(resource: str, action: str) -> Need:
    """The right in the project that the address is about, by its name or through the object that it names."""
    return Need("project", (resource, action))


def system(resource: str, action: str) -> Need:
    """Sysadmins, and robots of the system that were given this."""
    return Need("system", (resource, action))


def himself_or(resource: str, action: str) -> Need:
    """The user whom the address names, and whoever `system` would let in."""
    return Need("himself", (resource, action))


def person_or(resource: str, action: str) -> Need:
    """Any user, and robots of the system that were given this."""
    return Need("person", (resource, action))


PERSON: Final = person_or("", "")

_P: Final = "projects/{project_name_or_id}"
_R: Final = "projects/{project_name}/repositories/{repository_name}"
_A: Final = _R + "/artifacts/{reference}"
_READ_WRITE: Final = {"GET": "read", "PUT": "update", "DELETE": "delete"}


def _object(resource: str, *methods: str) -> dict[str, Need]:
    return {method: here(resource, _READ_WRITE[method]) for method in methods or _READ_WRITE}


REST: Final[Mapping[str, Mapping[str, Need]]] = {
    "ping": {"GET": ANYONE},
    "health": {"GET": ANYONE},
    "openapi.json": {"GET": ANYONE},
    "search": {"GET": ANYONE},
    "systeminfo": {"GET": ANYONE},
    "systeminfo/getcert": {"GET": ANYONE},
    "systeminfo/volumes": {"GET": system("system-volumes", "read")},
    "icons/{digest}": {"GET": ANYONE},
    "statistics": {"GET": SIGNED_IN},
    "configurations": {"GET": SYSADMIN, "PUT": SYSADMIN},
    "system/CVEAllowlist": {"GET": SIGNED_IN, "PUT": SYSADMIN},
    "registries": {"GET": system("registry", "list")},
    "jobservice/pools": {"GET": system("jobservice-monitor", "list")},
    "jobservice/pools/{pool_id}/workers": {"GET": system("jobservice-monitor", "list")},
    "jobservice/jobs/{job_id}": {"PUT": system("jobservice-monitor", "stop")},
    "jobservice/jobs/{job_id}/log": {"GET": system("jobservice-monitor", "list")},
    "jobservice/queues": {"GET": system("jobservice-monitor", "list")},
    "jobservice/queues/{job_type}": {"PUT": system("jobservice-monitor", "stop")},
    "schedules": {"GET": system("jobservice-monitor", "list")},
    "schedules/{job_type}/paused": {"GET": system("jobservice-monitor", "list")},
    "projects/{project_name_or_id}/trash": {"GET": here("artifact", "delete")},
    "projects/{project_name_or_id}/trash/{deletion_id}": {"DELETE": here("", "delete")},
    "projects/{project_name_or_id}/trash/{deletion_id}/restore": {"POST": here("artifact", "delete")},
    "trash/projects": {"GET": SYSADMIN},
    "trash/projects/{deletion_id}": {"DELETE": SYSADMIN},
    "trash/projects/{deletion_id}/restore": {"POST": SYSADMIN},
    "system/gc": {"GET": system("garbage-collection", "list")},
    "system/gc/{gc_id}": {"GET": system("garbage-collection", "read"), "PUT": system("garbage-collection", "stop")},
    "system/gc/{gc_id}/log": {"GET": system("garbage-collection", "read")},
    "system/gc/schedule": {
        "GET": system("garbage-collection", "read"),
        "POST": system("garbage-collection", "create"),
        "PUT": system("garbage-collection", "update"),
    },
    "system/storage": {"GET": system("garbage-collection", "read")},
    "system/purgeaudit": {"GET": system("purge-audit", "list")},
    "system/purgeaudit/{purge_id}": {"GET": system("purge-audit", "read"), "PUT": system("purge-audit", "stop")},
    "system/purgeaudit/{purge_id}/log": {"GET": system("purge-audit", "read")},
    "system/purgeaudit/schedule": {
        "GET": system("purge-audit", "read"),
        "POST": system("purge-audit", "create"),
        "PUT": system("purge-audit", "update"),
    },
    "retentions/metadatas": {"GET": SIGNED_IN},
    "retentions": {"POST": SIGNED_IN},  # of which project: the body says
    "retentions/{id}": _object("tag-retention"),
    "retentions/{id}/upcoming": {"GET": here("tag-retention", "read")},
    "retentions/{id}/executions": {"GET": here("tag-retention", "list"), "POST": here("tag-retention", "update")},
    "retentions/{id}/executions/{eid}": {"PATCH": here("tag-retention", "update")},
    "retentions/{id}/executions/{eid}/tasks": {"GET": here("tag-retention", "list")},
    "retentions/{id}/executions/{eid}/tasks/{tid}": {"GET": here("tag-retention", "read")},
    "replication/policies": {"GET": system("replication-policy", "list")},
    "replication/executions": {"GET": system("replication", "list")},
    "replication/adapters": {"GET": system("replication-adapter", "list")},
    "replication/adapterinfos": {"GET": system("replication-adapter", "list")},
    "scans/all/metrics": {"GET": system("scan-all", "read")},
    "scans/schedule/metrics": {"GET": system("scan-all", "read")},
    "internalconfig": {"GET": NOBODY},
    "audit-logs": {"GET": SIGNED_IN},
    "auditlog-exts": {"GET": SIGNED_IN},
    "auditlog-exts/events": {"GET": SIGNED_IN},
    "quotas": {"GET": system("quota", "list")},
    "quotas/{id}": {"GET": system("quota", "read"), "PUT": system("quota", "update")},
    "users": {"GET": system("user", "list"), "POST": system("user", "create")},
    "users/current": {"GET": SIGNED_IN},  # a robot is told that it is none
    "users/current/permissions": {"GET": SIGNED_IN},
    "users/search": {"GET": SIGNED_IN},
    "users/{user_id}": {
        "GET": himself_or("user", "read"),
        "PUT": himself_or("user", "update"),
        "DELETE": system("user", "delete"),
    },
    "users/{user_id}/password": {"PUT": himself_or("user", "update")},
    "users/{user_id}/cli_secret": {"PUT": himself_or("user", "update"), "DELETE": himself_or("user", "update")},
    "users/{user_id}/sessions": {"DELETE": himself_or("user", "update")},
    "users/{user_id}/refresh_tokens": {"GET": himself_or("user", "update"), "DELETE": himself_or("user", "update")},
    "users/{user_id}/refresh_tokens/{token_id}": {"DELETE": himself_or("user", "update")},
    "users/{user_id}/sysadmin": {"PUT": SYSADMIN},
    "usergroups": {"GET": system("user-group", "list"), "POST": system("user-group", "create")},
    "usergroups/search": {"GET": SIGNED_IN},
    "usergroups/{group_id}": {
        "GET": system("user-group", "read"),
        "PUT": system("user-group", "update"),
        "DELETE": system("user-group", "delete"),
    },
    "permissions": {"GET": ANY_PROJECT_ADMIN},
    "robots": {"GET": system("robot", "list"), "POST": SIGNED_IN},  # of which project: the body says
    "robots/{robot_id}": _object("robot") | {"PATCH": here("robot", "update")},
    "labels": {"GET": SIGNED_IN, "POST": SIGNED_IN},  # likewise
    "labels/{label_id}": _object("label"),
    "projects": {"GET": ANYONE, "HEAD": SIGNED_IN, "POST": person_or("project", "create")},
    _P: _object(""),
    _P + "/_deletable": {"GET": here("", "delete")},
    _P + "/summary": {"GET": here("", "read")},
    _P + "/artifacts": {"GET": here("artifact", "list")},
    _P + "/scanner": {"GET": here("scanner", "read"), "PUT": here("scanner", "create")},
    _P + "/scanner/candidates": {"GET": here("scanner", "create")},
    "projects/{project_name}/logs": {"GET": here("log", "list")},
    "projects/{project_name}/auditlog-exts": {"GET": here("log", "list")},
    _P + "/members": {"GET": here("member", "list"), "POST": here("member", "create")},
    _P + "/members/{mid}": _object("member"),
    _P + "/metadatas": {"GET": here("metadata", "read"), "POST": here("metadata", "create")},
    _P + "/metadatas/{meta_name}": _object("metadata"),
    _P + "/robots": {"GET": here("robot", "list"), "POST": here("robot", "create")},
    _P + "/robots/{robot_id}": _object("robot"),
    _P + "/holds": {"GET": here("immutable-tag", "list")},
    _P + "/immutabletagrules": {"GET": here("immutable-tag", "list"), "POST": here("immutable-tag", "create")},
    _P + "/immutabletagrules/preview": {"POST": here("immutable-tag", "list")},
    _P + "/immutabletagrules/{immutable_rule_id}": _object("immutable-tag", "PUT", "DELETE"),
    _P + "/immutabletagrules/{immutable_rule_id}/preview": {"GET": here("immutable-tag", "list")},
    "repositories": {"GET": ANYONE},
    "projects/{project_name}/repositories": {"GET": here("repository", "list")},
    _R: _object("repository"),
    _R + "/artifacts": {"GET": here("artifact", "list"), "POST": here("artifact", "create")},
    _A: _object("artifact", "GET", "DELETE"),
    _A + "/hold": {
        "GET": here("immutable-tag", "list"),
        "PUT": here("immutable-tag", "create"),
        "DELETE": here("immutable-tag", "delete"),
    },
    _A + "/tags": {"GET": here("tag", "list"), "POST": here("tag", "create")},
    _A + "/tags/{tag_name}": {"DELETE": here("tag", "delete")},
    _A + "/accessories": {"GET": here("accessory", "list")},
    _A + "/additions/vulnerabilities": {"GET": here("artifact-addition", "read")},
    _A + "/additions/{addition}": {"GET": here("artifact-addition", "read")},
    _A + "/labels": {"POST": here("artifact-label", "create")},
    _A + "/labels/{label_id}": {"DELETE": here("artifact-label", "delete")},
}

# Pages answer a method that they do not have with 405; who may not see a project gets the 404 of one that is not there.
CONSOLE: Final[dict[str, Mapping[str, Need]]] = {
    "": {"GET": ANYONE},
    "sign-in": {"GET": ANYONE},
    "sign-out": {"POST": ANYONE},
    "projects": {"GET": PERSON},
    "api/docs": {"GET": ANYONE},
    "projects/{project}": {"GET": here("repository", "pull")},
    "projects/{project}/{repository}": {"GET": here("repository", "pull")},
}

SESSIONS: Final[dict[str, Mapping[str, Need]]] = {
    "api/version": {"GET": ANYONE},
    "c/login": {"POST": ANYONE},
    "c/log_out": {"GET": ANYONE},
    "c/userExists": {"POST": SYSADMIN},  # and anyone where people can sign up
}


@dataclass(frozen=True)
class Route:
    """One address of the URL map as its pattern writes it, with the names of what varies replaced in `shape`."""

    address: str
    view: Any

    @property
    def shape(self) -> str:
        return shape_of(self.address)

    @property
    def is_rest(self) -> bool:
        return self.address.startswith(ROOT)

    @property
    def is_page(self) -> bool:
        return self.address in CONSOLE or self.address.startswith("projects/")

    @property
    def is_not_yet(self) -> bool:
        """Known to the contract, and answered 501 by this release, whatever the method."""
        return bool(self.not_yet) and not self.methods

    @property
    def not_yet(self) -> frozenset[str]:
        """The methods that this release answers with 501."""
        return frozenset(getattr(self.view_class, "not_yet", ()))

    @property
    def view_class(self) -> Any:
        return getattr(self.view, "cls", None) or getattr(self.view, "view_class", None)

    @property
    def methods(self) -> frozenset[str]:
        """The methods that a REST view has by its own, and answers."""
        names = set(self.view_class.http_method_names) - {"options", "trace"}
        return frozenset(name.upper() for name in names if hasattr(self.view_class, name)) - self.not_yet

    def at(self, values: Iterable[object]) -> str:
        """The path with `values` in the places of what varies, from left to right."""
        left = iter(values)
        return "/" + _PARAMETER.sub(lambda _: str(next(left)), self.address)


def shape_of(address: str) -> str:
    """The address without the names of what varies: `projects/{}/members/{}`."""
    return _PARAMETER.sub("{}", address).rstrip("/")


def names_in(address: str) -> list[str]:
    """The names of what varies in an address, from left to right."""
    return ["".join(found) for found in _PARAMETER.findall(address)]


def rows() -> dict[str, tuple[str, Mapping[str, Need]]]:
    """By shape: the address as it is written above, and what its methods ask for."""
    rest = {shape_of(ROOT + address): (address, needs) for address, needs in REST.items()}
    return rest | {shape_of(address): (address, needs) for address, needs in (CONSOLE | SESSIONS).items()}


def routes() -> list[Route]:
    """Every address of the URL map but the one that says 404 to all others."""
    found = [Route(address, pattern.callback) for address, pattern in _walk(get_resolver().url_patterns, "")]
    return [route for route in found if getattr(route.view_class, "__name__", "") != "UnknownView"]


def _walk(patterns: Iterable[URLPattern | URLResolver], prefix: str) -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        text = str(pattern.pattern)
        address = prefix + (text.strip("^$") if isinstance(pattern.pattern, RegexPattern) else text)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, address)
        else:
            yield address, pattern
