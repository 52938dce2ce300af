"""Deletions: one row that groups everything that one delete removed, with the time until which it can be restored."""

from __future__ import annotations

import datetime as dt
from typing import Final

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from registry_core.access import Cause
from registry_core.config import get_config
from registry_core.content.models import Deletion
from registry_core.content.repositories import ProjectRef, RepositoryRef

Kind = Deletion.Kind
NAME_MAX: Final = 512


def begin_deletion(
    *, project: ProjectRef, repository: RepositoryRef | None, kind: Deletion.Kind, name: str, cause: Cause
) -> int:
    """The id of a new deletion; `kind` and `name` are what the client named. Runs within the caller's transaction."""
    days = dt.timedelta(days=get_config().deleted_retention_days)
    return Deletion.objects.create(
        project_id=project.id,
        repository_id=repository.id if repository else None,
        kind=kind,
        name=name[:NAME_MAX],
        subject_kind=int(cause.subject.kind),
        subject_id=cause.subject.id,
        subject_name=cause.subject.name[:255],
        reason=cause.reason,
        expires_at=Now() + days,
    ).pk


def restorable() -> QuerySet[Deletion]:
    """The deletions that can still be restored. None if the settings say that nothing is kept."""
    kept = Deletion.objects.filter(expires_at__gt=Now(), is_purging=False)
    return kept if get_config().deleted_retention_days else kept.none()


def purgeable(*, is_everything: bool) -> QuerySet[Deletion]:
    """The deletions whose content is to go: those that have expired, or all of them; not those of the grace period.
    The oldest first."""
    old_enough = Q(deleted_at__lte=Now() - dt.timedelta(seconds=get_config().gc_grace_s))
    expired = Q(expires_at__lte=Now())
    is_all = is_everything or not get_config().deleted_retention_days
    due = Deletion.objects.filter(
        Q(is_purging=True) | old_enough if is_all else expired & (Q(is_purging=True) | old_enough)
    )
    return due.order_by(F("expires_at"), F("pk"))


def days_left(deletion: Deletion) -> float:
    """For how many days it can still be restored."""
    return (deletion.expires_at - timezone.now()).total_seconds() / 86_400
