"""The periodic work and the jobs of content."""

from __future__ import annotations

import time
from typing import Any, Final

import structlog

from registry_core.config import get_config
from registry_core.content import descriptions, installation, push_times, quota_audit, storage_health, sweep
from registry_core.content.collecting import REASON, Parameters, collect_garbage
from registry_core.events.follower import FOLLOW_S
from registry_core.jobs.kinds import job_kind
from registry_core.jobs.periodic import periodic
from registry_core.jobs.running import Run
from registry_core.jobs.tasks import NoParameters
from registry_core.storage.interface import StorageError

DESCRIBE_S: Final = 45
DESCRIBE_AT_ONCE: Final = 200
_log = structlog.get_logger(__name__)


@job_kind("SYSTEM_ARTIFACT_CLEANUP", parameters=NoParameters, is_exclusive=True, cron="0 41 * * * *")
def sweep_uploads(run: Run[NoParameters]) -> dict[str, Any]:
    """Remove abandoned uploads and objects that no row names.

    Why a store was skipped is in the log of the job, and shown by `portolan check`.
    """
    report = sweep.sweep(ttl_s=get_config().upload_ttl_s)
    for line in (*report.stopped.values(), *str(report).splitlines()):
        run.log(line)
    return {"uploads": report.uploads, "removed": report.removed}


@job_kind("GARBAGE_COLLECTION", parameters=Parameters, is_exclusive=True)
def collect(run: Run[Parameters]) -> dict[str, Any]:
    """Remove for good what was deleted long enough ago, and what nothing uses; by a schedule of the administrator."""
    return collect_garbage(run.parameters, run, cause=run.cause.because(REASON)).result()


@job_kind("TRASH_CLEANUP", parameters=NoParameters, is_exclusive=True, cron="0 17 3 * * *")
def clean_trash(run: Run[NoParameters]) -> dict[str, Any]:
    """Do the same once a day, whether or not there is such a schedule: deleted content is kept no longer than the
    settings say."""
    return collect_garbage(Parameters(), run, cause=run.cause.because(REASON)).result()


@job_kind("STORAGE_CHECK", parameters=NoParameters, is_exclusive=True, cron="0 29 4 * * *")
def measure_stores(run: Run[NoParameters]) -> dict[str, Any]:
    """Compare the stores with the database in both directions, and keep the result for the storage health."""
    found = storage_health.measure_all()
    for line in found:
        run.log(str(line))
    return {"difference_bytes": sum(measured.difference_bytes for measured in found)}


@periodic("mark stores", every_s=60)
def mark_stores() -> int:
    """Write the age of the database into the stores, so that an older database is detected; returns the number of
    marks."""
    try:
        return installation.mark_stores()
    except StorageError as error:  # repeated in a minute
        _log.warning("a store could not be marked", reason=str(error))
        return 0


@periodic("describe manifests", every_s=60)
def describe_manifests() -> int:
    """Describe manifests that have no description: those of earlier releases, and those whose config could not be
    read."""
    until, described = time.monotonic() + DESCRIBE_S, 0
    while time.monotonic() < until:
        batch = descriptions.describe_more(limit=DESCRIBE_AT_ONCE)
        described += batch
        if batch < DESCRIBE_AT_ONCE:
            break
    return described


@job_kind("QUOTA_AUDIT", parameters=NoParameters, is_exclusive=True, cron="0 11 4 * * *")
def audit_quotas(run: Run[NoParameters]) -> dict[str, Any]:
    """Recount the projects whose counters are wrong, logging each."""
    mended = quota_audit.mend_all()
    run.log(f"the counters of {mended} projects were wrong and were recounted")
    return {"projects": mended}


@periodic("note push times", every_s=FOLLOW_S)
def note_push_times() -> int:
    """Write the times of pushes into the repositories' rows; returns the number of events."""
    return push_times.note_push_times()
