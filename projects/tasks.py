"""The periodic work and the jobs of projects."""

from __future__ import annotations

from typing import Any

from projects.audit.consumer import write_entries
from projects.audit.purge import PurgeParameters, purge
from projects.retention.running import RetentionParameters, run_policy
from registry_core.events.follower import FOLLOW_S
from registry_core.jobs.kinds import job_kind
from registry_core.jobs.periodic import periodic
from registry_core.jobs.running import Run


@periodic("write the audit log", every_s=FOLLOW_S)
def write_audit_log() -> None:
    """Write the events since the last run to the audit log."""
    write_entries()


@job_kind("PURGE_AUDIT_LOG", parameters=PurgeParameters, is_exclusive=True)
def purge_audit_log(run: Run[PurgeParameters]) -> dict[str, Any]:
    """Delete old entries of the audit log."""
    return purge(run)


@job_kind("RETENTION", parameters=RetentionParameters, is_exclusive=True, max_per_project=2)
def apply_retention(run: Run[RetentionParameters]) -> dict[str, Any]:
    """Delete what a retention policy does not retain, or say what it would delete."""
    return run_policy(run)
