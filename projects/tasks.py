"""The periodic work of projects."""

from __future__ import annotations

from projects.audit.consumer import write_entries
from registry_core.events.follower import FOLLOW_S
from registry_core.jobs.periodic import periodic


@periodic("write the audit log", every_s=FOLLOW_S)
def write_audit_log() -> None:
    """Write the events since the last run to the audit log."""
    write_entries()
