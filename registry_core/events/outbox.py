"""Writing events: inside the transaction of what happened, so that the one is never there without the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from django.db import transaction
from psycopg.types.json import Jsonb

from registry_core.access import Cause
from registry_core.database.statements import statements
from registry_core.events.bell import ring
from registry_core.events.kinds import Payload, kind_of
from registry_core.machine.state import machine_id

_COLUMNS: Final = (
    "kind, project_id, repository_id, subject_kind, subject_id, client, request_id, result, payload, changed, origin"
)


def insert_event(source: str = "", *, payload: str = "%(event_payload)s") -> str:
    """The statement that writes an event from the values of `event_values`, once for each row of `source` (a FROM
    clause; empty: once). `payload`: an expression for the payload, where SQL adds to it."""
    return f"""
        INSERT INTO events_event ({_COLUMNS})
        SELECT %(event_kind)s, %(event_project)s::bigint, %(event_repository)s::bigint,
               %(event_subject_kind)s::smallint, %(event_subject)s::bigint, %(event_client)s, %(event_request)s,
               %(event_result)s, {payload}, %(event_changed)s::text[], %(event_origin)s
        {source}
    """


_INSERT: Final = insert_event()


def event_values(
    payload: Payload,
    *,
    cause: Cause,
    project_id: int | None = None,
    repository_id: int | None = None,
    changed: Iterable[str] = (),
) -> dict[str, Any]:
    """The values of the event for a statement of `insert_event`; see `emit`."""
    kind = kind_of(type(payload))
    return {
        "event_kind": kind.name,
        "event_project": project_id,
        "event_repository": repository_id,
        "event_subject_kind": int(cause.subject.kind),
        "event_subject": cause.subject.id,
        "event_client": cause.client,
        "event_request": cause.request_id,
        "event_result": kind.result.value,
        "event_payload": as_json(payload),
        "event_changed": list(changed),
        "event_origin": machine_id(),
    }


def as_json(payload: Payload) -> Jsonb:
    """A payload for a statement."""
    return Jsonb(payload, dumps=msgspec.json.encode)


def emit(
    payload: Payload,
    *,
    cause: Cause,
    project_id: int | None = None,
    repository_id: int | None = None,
    changed: Iterable[str] = (),
) -> None:
    """Write one event. Call it within the transaction, after the row lock of what it concerns.

    `changed` are the keys of the generations that the change makes stale, for the other machines.
    """
    values = event_values(payload, cause=cause, project_id=project_id, repository_id=repository_id, changed=changed)
    with statements() as cursor:
        cursor.execute(_INSERT, values)
    transaction.on_commit(ring)
