"""Celery entry points of content."""

from __future__ import annotations

import time
from typing import Final

from celery import shared_task

from registry_core.config import get_config
from registry_core.content import descriptions, orphans, push_times, quota_audit, uploads

DESCRIBE_S: Final = 45
DESCRIBE_AT_ONCE: Final = 200


@shared_task(name="registry_core.content.tasks.sweep_uploads")
def sweep_uploads() -> int:
    """Remove abandoned uploads and the objects that no row names; how many there were of both."""
    ttl_s = get_config().upload_ttl_s
    return uploads.sweep_uploads(ttl_s=ttl_s) + orphans.sweep_orphans(ttl_s=ttl_s)


@shared_task(name="registry_core.content.tasks.describe_manifests")
def describe_manifests() -> int:
    """Describe manifests that were stored without: those of before, and those whose config was not to be read."""
    until, described = time.monotonic() + DESCRIBE_S, 0
    while time.monotonic() < until:
        batch = descriptions.describe_more(limit=DESCRIBE_AT_ONCE)
        described += batch
        if batch < DESCRIBE_AT_ONCE:
            break
    return described


@shared_task(name="registry_core.content.tasks.audit_quotas")
def audit_quotas() -> int:
    """Count anew what the projects use whose counters are wrong; how many there were, each of which is logged."""
    return quota_audit.mend_all()


@shared_task(name="registry_core.content.tasks.note_push_times")
def note_push_times() -> int:
    """Note in the repositories' rows when they were last pushed to; how many events there were."""
    return push_times.note_push_times()
