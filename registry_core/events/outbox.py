"""Writing events: inside the transaction of what happened, so that the one is never there without the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import transaction
from psycopg.types.json import Jsonb

from registry_core.access import Subject
from registry_core.database.statements import statements
from registry_core.events.bell import ring
from registry_core.machine.state import machine_id

_INSERT = """
    INSERT INTO events_event (kind, project_id, repository_id, subject_kind, subject_id, payload, changed, origin)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""


def emit(
    *,
    kind: str,
    subject: Subject,
    project_id: int | None = None,
    repository_id: int | None = None,
    payload: dict[str, Any] | None = None,
    changed: Iterable[str] = (),
) -> None:
    """Write one event. Call it within the transaction, after the row lock of what it concerns.

    `changed` are the keys of the generations that the change makes stale, for the other machines.
    """
    values: list[Any] = [
        kind,
        project_id,
        repository_id,
        int(subject.kind),
        subject.id,
        Jsonb(payload or {}),
        list(changed),
        machine_id(),
    ]
    with statements() as cursor:
        cursor.execute(_INSERT, values)
    transaction.on_commit(ring)
