"""What an event is called in the audit log: operation, type and name of the resource, and a sentence about it."""

from __future__ import annotations

from itertools import chain
from typing import Final

from projects.audit.models import AuditEntry
from projects.audit.names import EventNames, Names
from registry_core.events.kinds import Kind, Operation, Payload, Result, all_kinds, kind_named
from registry_core.events.models import Event

USERNAME_MAX: Final = 600


def event_types() -> tuple[str, ...]:
    """What can be named in the setting `disabled_audit_log_event_types`."""
    return tuple(sorted({kind.audit_type for kind in all_kinds()}))


def entry_of(event: Event, names: Names) -> AuditEntry:
    """The entry that tells of an event; a plain one for an event that only a later release can read."""
    kind, payload = kind_named(event.kind), event.struct
    named = EventNames(event, names)
    resource = (payload.resource(named) if payload else named.repository or named.project) or event.kind
    return AuditEntry(
        event_id=event.pk,
        project_id=event.project_id,
        operation=kind.operation if kind else Operation.UPDATE,
        is_success=event.result == Result.SUCCESS,
        resource_type=kind.resource_type if kind else event.kind.partition(".")[0],
        resource=one_line(resource),
        username=one_line(names.subject(event))[:USERNAME_MAX],
        description=one_line(_description(event, kind, payload, named, resource)),
        op_time=event.at,
    )


def event_type(entry: AuditEntry) -> str:
    """The entry's type, as the settings name it: `create_user`."""
    return f"{entry.operation}_{entry.resource_type}"


def one_line(text: str) -> str:
    """`text` without characters that could make one entry look like two, where it is printed or forwarded."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _description(event: Event, kind: Kind | None, payload: Payload | None, names: EventNames, resource: str) -> str:
    happened = (kind.name if kind else event.kind).rpartition(".")[2].replace("_", " ")
    thing = kind.resource_type if kind else event.kind.partition(".")[0]
    details = payload.details(names) if payload else ()
    where = [f"at the address {event.client}"] if event.client else []
    request = [f"request {event.request_id}"] if event.request_id else []
    return "; ".join(chain([f"{thing} {resource} {happened}"], details, where, request))
