"""The frame of every change of permissions: caches invalidated, one transaction, and its event."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import transaction

from registry_core.access import Cause
from registry_core.events import outbox
from registry_core.events.kinds import Payload
from registry_core.machine.state import generations


@contextmanager
def rights_change(
    event: Payload | Callable[[], Payload], *keys: str, cause: Cause, project_id: int | None = None
) -> Iterator[None]:
    """Run the block in one transaction that invalidates the cache entries depending on `keys` and writes `event`, which
    may be a function that makes it when the block is done."""
    with generations().changing(keys), transaction.atomic():
        yield
        happened = event() if callable(event) else event
        outbox.emit(happened, cause=cause, project_id=project_id, changed=keys)


def user_key(user_id: int) -> str:
    """The key of the user's generation, equal to `Subject.key`."""
    return f"user:{user_id}"


def robot_key(robot_id: int) -> str:
    """The key of the robot's generation, equal to `Subject.key`."""
    return f"robot:{robot_id}"
