"""Celery entry points of content."""

from __future__ import annotations

from celery import shared_task

from registry_core.config import get_config
from registry_core.content import orphans, uploads


@shared_task(name="registry_core.content.tasks.sweep_uploads")
def sweep_uploads() -> int:
    """Remove abandoned uploads and the objects that no row names; how many there were of both."""
    ttl_s = get_config().upload_ttl_s
    return uploads.sweep_uploads(ttl_s=ttl_s) + orphans.sweep_orphans(ttl_s=ttl_s)
