"""The frame of every change of rights: marked for the caches, in one transaction, with its event."""

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
    """Run the block in a transaction that makes what is remembered under `keys` stale and writes `event`, which may be
    a function that makes it when the block is done."""
    with generations().changing(keys), transaction.atomic():
        yield
        happened = event() if callable(event) else event
        outbox.emit(happened, cause=cause, project_id=project_id, changed=keys)


def user_key(user_id: int) -> str:
    """The user as one word for the generations, as `Subject.key` has it."""
    return f"user:{user_id}"


def robot_key(robot_id: int) -> str:
    """The robot as one word for the generations, as `Subject.key` has it."""
    return f"robot:{robot_id}"
