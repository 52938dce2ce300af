"""What an event is called in the audit log: operation, type and name of the resource, and a sentence about it.

An event's kind is `thing.happened`; both words have a table, and what is in neither is taken by its form, so that a new
kind of event is in the log from its first day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from projects.audit.models import AuditEntry
from projects.audit.names import Names, changed_user_id
from registry_core.events.models import Event

_OPERATIONS: Final[Mapping[str, str]] = {
    "pushed": "create",
    "created": "create",
    "added": "create",
    "copied": "create",
    "pulled": "pull",
    "deleted": "delete",
    "removed": "delete",
    "revoked": "delete",
    "mounted": "create",
    "read": "read",
    "signed_in": "login",
    "signed_out": "logout",
    "sign_in_failed": "login",
    "refused": "refuse",
}
_FAILED: Final = ("_failed", "refused")
_OF_MANY_NAMES: Final = frozenset({"user.sign_in_failed", "user.read"})
_ROLES: Final = {1: "projectAdmin", 2: "developer", 3: "guest", 4: "maintainer", 5: "limitedGuest"}
EVENT_TYPES: Final = (
    "create_artifact",
    "pull_artifact",
    "delete_artifact",
    "create_tag",
    "delete_tag",
    "create_blob",
    "delete_blob",
    "update_blob",
    "update_repository",
    "delete_repository",
    "create_project",
    "update_project",
    "delete_project",
    "update_quota",
    "create_member",
    "update_member",
    "delete_member",
    "create_user",
    "update_user",
    "delete_user",
    "login_user",
    "logout_user",
    "create_group",
    "update_group",
    "delete_group",
    "create_robot",
    "update_robot",
    "delete_robot",
    "create_label",
    "update_label",
    "delete_label",
    "update_configuration",
    "read_configuration",
    "read_user",
    "read_audit_log",
    "refuse_policy",
    "create_refresh_token",
    "delete_refresh_token",
)
"""What can be named in the setting `disabled_audit_log_event_types`."""


def entry_of(event: Event, names: Names) -> AuditEntry:
    """The entry that tells of an event."""
    thing, _, happened = event.kind.partition(".")
    resource = _RESOURCES.get(thing, _by_payload)(event, names)
    return AuditEntry(
        event_id=event.pk,
        project_id=event.project_id,
        operation=_OPERATIONS.get(happened, "update"),
        is_success=not happened.endswith(_FAILED),
        resource_type=thing,
        resource=one_line(resource),
        username=one_line(names.subject(event))[:600],
        description=one_line(_description(event, thing, happened, resource)),
        op_time=event.at,
    )


def event_type(entry: AuditEntry) -> str:
    """The entry's type, as the settings name it: `create_user`."""
    return f"{entry.operation}_{entry.resource_type}"


def one_line(text: str) -> str:
    """`text` without characters that could make one entry look like two, where it is printed or forwarded."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _repository(event: Event, names: Names) -> str:
    project = names.projects.get(event.project_id or 0, f"project {event.project_id}")
    return f"{project}/{names.repositories.get(event.repository_id or 0, f'repository {event.repository_id}')}"


def _artifact(event: Event, names: Names) -> str:
    payload = event.payload
    tags = payload.get("tags") or ([payload["tag"]] if payload.get("tag") else [])
    if tags:
        return f"{_repository(event, names)}:{tags[0]}"
    digest = payload.get("digest") or names.artifacts.get(payload.get("artifact") or 0, "")
    return f"{_repository(event, names)}@{digest}" if digest else _repository(event, names)


def _user(event: Event, names: Names) -> str:
    if event.kind in _OF_MANY_NAMES:
        return str(event.payload.get("username") or event.payload.get("name") or "many names")
    user_id = changed_user_id(event) or event.subject_id
    return str(event.payload.get("username") or names.users.get(user_id, f"user {user_id}"))


def _member(event: Event, names: Names) -> str:
    user_id, group_id = event.payload.get("user_id"), event.payload.get("group_id")
    if user_id:
        return names.users.get(user_id, f"user {user_id}")
    return names.groups.get(group_id or 0, f"group {group_id}")


def _project(event: Event, names: Names) -> str:
    return str(event.payload.get("name") or names.projects.get(event.project_id or 0, f"project {event.project_id}"))


def _configuration(event: Event, _names: Names) -> str:
    return ", ".join(event.payload.get("values", {})) or str(event.payload.get("name") or "configuration")


def _by_payload(event: Event, names: Names) -> str:
    named = event.payload.get("name") or event.payload.get("digest")
    return str(named) if named else _project(event, names) if event.project_id else event.kind


_RESOURCES: Final[Mapping[str, Callable[[Event, Names], str]]] = {
    "artifact": _artifact,
    "tag": _artifact,
    "blob": lambda event, names: _artifact(event, names) if event.repository_id else _by_payload(event, names),
    "repository": _repository,
    "project": _project,
    "quota": _project,
    "policy": lambda event, names: _artifact(event, names) if event.repository_id else _by_payload(event, names),
    "user": _user,
    "member": _member,
    "configuration": _configuration,
}


def _description(event: Event, thing: str, happened: str, resource: str) -> str:
    sentence = f"{thing} {resource} {happened.replace('_', ' ')}"
    details = [detail(event.payload) for detail in _DETAILS]
    return "; ".join([sentence, *filter(None, details)])


def _role(payload: Mapping[str, Any]) -> str:
    return f"role {_ROLES.get(payload['role'], payload['role'])}" if "role" in payload else ""


def _digest(payload: Mapping[str, Any]) -> str:
    return f"digest {payload['digest']}" if "digest" in payload else ""


def _pulls(payload: Mapping[str, Any]) -> str:
    return f"{payload['pulls']} times within some seconds" if payload.get("pulls", 1) > 1 else ""


def _values(payload: Mapping[str, Any]) -> str:
    values = payload.get("values") or payload.get("metadata") or {}
    return ", ".join(f"{name} is {value}" for name, value in values.items())


def _storage(payload: Mapping[str, Any]) -> str:
    return f"limit {payload['storage']} bytes" if "storage" in payload else ""


def _source(payload: Mapping[str, Any]) -> str:
    return f"from {payload['from']}" if payload.get("from") else ""


def _client(payload: Mapping[str, Any]) -> str:
    return f"at the address {payload['client']}" if payload.get("client") else ""


def _times(payload: Mapping[str, Any]) -> str:
    return f"{payload['times']} times within a minute" if payload.get("times", 1) > 1 else ""


def _policy(payload: Mapping[str, Any]) -> str:
    if "policy" not in payload:
        return ""
    return f"{payload['moment']} refused by the policy {payload['policy']}, request {payload['request']}"


def _owner(payload: Mapping[str, Any]) -> str:
    return f"of {payload['user']}" if "user" in payload else ""


_DETAILS: Final = (_policy, _role, _digest, _source, _owner, _client, _times, _pulls, _values, _storage)
