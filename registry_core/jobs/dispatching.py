"""What the clock does for jobs every two seconds: it starts scheduled ones, takes over lost tasks, wakes workers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final

import structlog
from django.db import connection

from registry_core.jobs import claims, schedules
from registry_core.jobs.models import PENDING, RUNNING
from registry_core.jobs.worker import FORGOTTEN_S

WAKE_MAX: Final = 64
_log = structlog.get_logger(__name__)
_LOOK: Final = f"""
    SELECT
        EXISTS (SELECT 1 FROM jobs_task WHERE status = {RUNNING} AND (lease_until < clock_timestamp()
            OR stop_requested_at < clock_timestamp() - make_interval(secs => %(patience)s))),
        EXISTS (SELECT 1 FROM jobs_schedule WHERE next_at <= clock_timestamp()),
        least(
            (SELECT count(*) FROM (SELECT 1 FROM jobs_task WHERE status = {PENDING} AND run_at <= clock_timestamp()
                AND NOT EXISTS (SELECT 1 FROM jobs_pausedqueue WHERE name = jobs_task.kind) LIMIT %(most)s) AS ready),
            greatest(1, (SELECT coalesce(sum(concurrency), 0) FROM jobs_pool
                WHERE seen_at > clock_timestamp() - make_interval(secs => %(alive)s)))
        )
"""  # noqa: S608 a constant


def dispatch(wake: Callable[[int], None]) -> None:
    """Do all of it once. `wake` sees to it that up to so many threads look for tasks. Several clocks may do this at the
    same time."""
    has_lost, has_due, threads = _look()
    steps: tuple[tuple[bool, Callable[[], object]], ...] = (
        (has_lost, claims.take_from_lost),
        (threads > 0, lambda: wake(threads)),
        (True, _make_defaults),
        (has_due, schedules.start_due),
    )
    for step in [step for is_needed, step in steps if is_needed]:
        try:
            step()
        except Exception:  # whatever it is: the other steps are done, and it is tried again in two seconds
            _log.exception("the clock could not do its work for jobs")


@functools.cache
def _make_defaults() -> None:
    """Once in the life of a clock; an error is not cached."""
    schedules.make_defaults()


def _look() -> tuple[bool, bool, int]:
    """Whether tasks were lost, whether a schedule is due, and how many threads are needed: one statement at rest."""
    values = {"most": WAKE_MAX, "alive": FORGOTTEN_S, "patience": claims.STOP_WITHIN_S}
    with connection.cursor() as cursor:
        cursor.execute(_LOOK, values)
        has_lost, has_due, threads = cursor.fetchall()[0]
    return bool(has_lost), bool(has_due), int(threads)
