"""Periodic jobs: each app declares its own, in its `tasks.py`, on the function that does the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from celery import shared_task

_schedule: Final[dict[str, dict[str, Any]]] = {}


def periodic(name: str, *, every_s: float) -> Callable[[Callable[[], object]], Any]:
    """Declare a function as a job that is due every `every_s` seconds; `name` is shown in logs and status pages.

    A run that no worker has taken when the next one is due is dropped: only the latest matters.
    """

    def declare(function: Callable[[], object]) -> Any:
        task = f"{function.__module__}.{function.__qualname__}"
        _schedule[name] = {"task": task, "schedule": every_s, "options": {"expires": every_s}}
        return shared_task(name=task)(function)

    return declare


def schedule() -> dict[str, dict[str, Any]]:
    """All declared jobs, in the form of Celery's `beat_schedule`. Complete once every `tasks` module is imported."""
    return dict(_schedule)
