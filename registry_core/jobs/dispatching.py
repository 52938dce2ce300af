"""What the clock does for jobs each second: start what is scheduled, take tasks from lost workers, wake workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog
from django.db import connection

from registry_core.jobs import claims, schedules
from registry_core.jobs.worker import FORGOTTEN_S

WAKE_MAX: Final = 64
_log = structlog.get_logger(__name__)
_NEEDED: Final = """
    SELECT least(
        (SELECT count(*) FROM (SELECT 1 FROM jobs_task WHERE status = 0 AND run_at <= clock_timestamp()
            AND NOT EXISTS (SELECT 1 FROM jobs_pausedqueue WHERE name = jobs_task.kind) LIMIT %(most)s) AS ready),
        greatest(1, (SELECT coalesce(sum(concurrency), 0) FROM jobs_pool
            WHERE seen_at > clock_timestamp() - make_interval(secs => %(alive)s)))
    )
"""


def dispatch(wake: Callable[[int], None]) -> None:
    """Do all of it once. `wake` sees to it that up to so many threads look for tasks. Several clocks may do this at the
    same time."""
    for step in (claims.take_from_lost, lambda: _wake(wake), schedules.make_defaults, schedules.start_due):
        try:
            step()
        except Exception:  # whatever it is: the other steps are done, and it is tried again in a second
            _log.exception("the clock could not do its work for jobs")


def _wake(wake: Callable[[int], None]) -> None:
    if needed := _threads_needed():
        wake(needed)


def _threads_needed() -> int:
    with connection.cursor() as cursor:
        cursor.execute(_NEEDED, {"most": WAKE_MAX, "alive": FORGOTTEN_S})
        return int(cursor.fetchone()[0])
