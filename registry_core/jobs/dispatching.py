"""What the clock does for jobs each second: start what is scheduled, take tasks from lost workers, wake workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.db import connection

from registry_core.jobs import claims, schedules
from registry_core.jobs.worker import FORGOTTEN_S

WAKE_MAX: Final = 64
_NEEDED: Final = """
    SELECT least(
        (SELECT count(*) FROM (SELECT 1 FROM jobs_task WHERE status = 0 AND run_at <= clock_timestamp()
            LIMIT %(most)s) AS ready),
        greatest(1, (SELECT coalesce(sum(concurrency), 0) FROM jobs_pool
            WHERE seen_at > clock_timestamp() - make_interval(secs => %(alive)s)))
    )
"""


def dispatch(wake: Callable[[int], None]) -> None:
    """Do all of it once. `wake` sees to it that up to so many threads look for tasks. Several clocks may do this at the
    same time."""
    schedules.make_defaults()
    schedules.start_due()
    claims.take_from_lost()
    needed = _threads_needed()
    if needed:
        wake(needed)


def _threads_needed() -> int:
    with connection.cursor() as cursor:
        cursor.execute(_NEEDED, {"most": WAKE_MAX, "alive": FORGOTTEN_S})
        return int(cursor.fetchone()[0])
