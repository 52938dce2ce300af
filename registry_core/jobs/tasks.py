"""The jobs about jobs."""

from __future__ import annotations

from typing import Any

import msgspec

from registry_core.config import get_config
from registry_core.jobs import executions
from registry_core.jobs.kinds import job_kind
from registry_core.jobs.running import Run


class NoParameters(msgspec.Struct):
    """A job without parameters."""


@job_kind("EXECUTION_SWEEP", parameters=NoParameters, is_exclusive=True, cron="0 17 3 * * *")
def sweep_executions(run: Run[NoParameters]) -> dict[str, Any]:
    """Remove the executions that ended long ago, and their logs."""
    removed = 0
    while True:
        run.check()
        with run.fenced():
            batch = executions.remove_old(days=get_config().job_history_days)
        removed += batch
        run.progress(removed, removed)
        if batch < executions.REMOVED_AT_ONCE:
            break
    run.log(f"removed {removed} executions that ended more than {get_config().job_history_days} days ago")
    return {"removed": removed}
