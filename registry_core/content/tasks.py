"""Celery entry points of content."""

from __future__ import annotations

from celery import shared_task

from registry_core.config import get_config
from registry_core.content import uploads


@shared_task(name="registry_core.content.tasks.sweep_uploads")
def sweep_uploads() -> int:
    """Remove abandoned uploads; how many there were."""
    return uploads.sweep_uploads(ttl_s=get_config().upload_ttl_s)
