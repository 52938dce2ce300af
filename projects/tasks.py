"""Celery entry points of projects."""

from __future__ import annotations

from celery import shared_task

from projects.audit.consumer import write_entries


@shared_task(name="projects.tasks.write_audit_log")
def write_audit_log() -> None:
    """Write down what happened since the last time."""
    write_entries()
