"""Celery entry points of content."""

from __future__ import annotations

import time
from typing import Final

import structlog

from registry_core.config import get_config
from registry_core.content import descriptions, installation, push_times, quota_audit, sweep
from registry_core.events.follower import FOLLOW_S
from registry_core.jobs.periodic import periodic
from registry_core.storage.interface import StorageError

DESCRIBE_S: Final = 45
DESCRIBE_AT_ONCE: Final = 200
_log = structlog.get_logger(__name__)


@periodic("sweep uploads", every_s=3600)
def sweep_uploads() -> int:
    """Remove abandoned uploads and the objects that no row names; how many there were of both.

    Why a store is left alone is logged, and `portolan check` says it.
    """
    return sweep.sweep(ttl_s=get_config().upload_ttl_s).removed


@periodic("mark stores", every_s=60)
def mark_stores() -> int:
    """Let the stores know how far the database is, so that an older one is noticed; how many were marked."""
    try:
        return installation.mark_stores()
    except StorageError as error:  # it comes again in a minute
        _log.warning("a store could not be marked", reason=str(error))
        return 0


@periodic("describe manifests", every_s=60)
def describe_manifests() -> int:
    """Describe manifests that were stored without: those of before, and those whose config was not to be read."""
    until, described = time.monotonic() + DESCRIBE_S, 0
    while time.monotonic() < until:
        batch = descriptions.describe_more(limit=DESCRIBE_AT_ONCE)
        described += batch
        if batch < DESCRIBE_AT_ONCE:
            break
    return described


@periodic("audit quotas", every_s=86_400)
def audit_quotas() -> int:
    """Count anew what the projects use whose counters are wrong; how many there were, each of which is logged."""
    return quota_audit.mend_all()


@periodic("note push times", every_s=FOLLOW_S)
def note_push_times() -> int:
    """Note in the repositories' rows when they were last pushed to; how many events there were."""
    return push_times.note_push_times()
