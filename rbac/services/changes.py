"""The frame of every change of permissions: caches invalidated, one transaction, and its event."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction

from registry_core.access import Subject
from registry_core.events import outbox
from registry_core.machine.state import generations


@contextmanager
def rights_change(
    *keys: str, kind: str, by: Subject, project_id: int | None = None, payload: dict[str, Any] | None = None
) -> Iterator[None]:
    """Run the block in one transaction that invalidates cache entries depending on `keys` and writes the event
    `kind`."""
    with generations().changing(keys), transaction.atomic():
        yield
        outbox.emit(kind=kind, subject=by, project_id=project_id, payload=payload, changed=keys)


def user_key(user_id: int) -> str:
    """The key of the user's generation, equal to `Subject.key`."""
    return f"user:{user_id}"


def robot_key(robot_id: int) -> str:
    """The key of the robot's generation, equal to `Subject.key`."""
    return f"robot:{robot_id}"
