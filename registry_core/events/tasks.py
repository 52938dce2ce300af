"""Celery entry points of the outbox."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from registry_core.events.relay import relay
from registry_core.partitions import ensure_partitions


@shared_task(name="registry_core.events.tasks.relay_events")
def relay_events() -> None:
    """Number the events that were committed since the last time."""
    relay()


@shared_task(name="registry_core.events.tasks.make_partitions")
def make_partitions() -> None:
    """Make next months' partitions before their first row comes."""
    ensure_partitions(timezone.now().date())
