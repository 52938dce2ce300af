"""Purging: the rows of deleted content are removed for good, and what only they referred to becomes garbage.

A deletion is purged in steps of a bounded number of artifacts, each a transaction. With the first one it cannot be
restored any more; a purge that was interrupted is continued by the next garbage collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Least, Now
from django.utils import timezone

from registry_core.config import get_config
from registry_core.content import garbage
from registry_core.content.models import Artifact, Deletion, Garbage, Project, Repository, Tag

BATCH: Final = 500
Kind = Deletion.Kind
Fence = Callable[[], AbstractContextManager[None]]


@dataclass(slots=True)
class Purged:
    """What was removed. `blob_ids`: the blobs that lost a reference, which others may still have."""

    deletions: int = 0
    artifacts: int = 0
    tags: int = 0
    blob_ids: set[int] = field(default_factory=set)

    def add(self, other: Purged) -> None:
        """Count what another purge removed as well."""
        self.deletions += other.deletions
        self.artifacts += other.artifacts
        self.tags += other.tags
        self.blob_ids |= other.blob_ids


def purge_deletion(
    deletion_id: int,
    *,
    fenced: Fence = transaction.atomic,
    check: Callable[[], None] = lambda: None,
    on_begin: Callable[[Deletion], None] = lambda _: None,
) -> Purged:
    """Remove everything that a deletion groups; of a repository or a project also what had been deleted in it before.

    `fenced` begins the transaction of each step, and `check` is called between them; `on_begin` is called within the
    first. Does nothing if the deletion was purged or restored meanwhile.
    """
    purged = Purged()
    with fenced():
        parts = _begin(deletion_id, on_begin)
    for part in parts:
        # Only somebody's order purges what is so young: then what becomes garbage has no grace period either.
        is_urgent = (timezone.now() - part.deleted_at).total_seconds() < get_config().gc_grace_s
        for step in _steps(part, fenced, is_urgent=is_urgent):
            purged.add(step)
            check()
        with fenced():
            purged.tags += _end(part)
        purged.deletions += 1
    return purged


def _begin(deletion_id: int, on_begin: Callable[[Deletion], None]) -> list[Deletion]:
    """Lock the deletion against being restored, and all that belong to it; in the order in which they are purged."""
    found = Deletion.objects.select_for_update().filter(pk=deletion_id).first()
    if found is None:
        return []
    on_begin(found)
    within = Q(pk=found.pk)
    if found.kind == Kind.REPOSITORY:
        within |= Q(repository_id=found.repository_id)
    elif found.kind == Kind.PROJECT:
        within |= Q(repository__project_id=found.project_id)
    rows = Deletion.objects.filter(within)
    Deletion.objects.filter(pk__in=rows.values("pk")).update(is_purging=True, expires_at=Least("expires_at", Now()))
    return sorted(rows, key=lambda part: (part.pk == found.pk, part.kind, part.pk))


def _steps(deletion: Deletion, fenced: Fence, *, is_urgent: bool) -> Iterator[Purged]:
    while True:
        with fenced():
            step = _purge_artifacts(deletion.pk, is_urgent=is_urgent)
        yield step
        if step.artifacts < BATCH:
            return


def _purge_artifacts(deletion_id: int, *, is_urgent: bool) -> Purged:
    rows = Artifact.objects.select_for_update().filter(deletion_id=deletion_id).order_by("pk")
    artifacts = dict(rows.values_list("pk", "manifest_id")[:BATCH])
    if not artifacts:
        return Purged()
    tags, _ = Tag.objects.filter(artifact_id__in=artifacts, deleted_at__isnull=False).delete()
    blob_ids = _remove_uses(list(artifacts))
    # By the ORM, which also removes what apps above have stored for them.
    Artifact.objects.filter(pk__in=artifacts).delete()
    garbage.queue(Garbage.Kind.BLOB, blob_ids, delay_s=0.0, is_urgent=is_urgent)
    garbage.queue(Garbage.Kind.MANIFEST, set(artifacts.values()), delay_s=0.0, is_urgent=is_urgent)
    return Purged(artifacts=len(artifacts), tags=tags, blob_ids=blob_ids)


def _remove_uses(artifact_ids: list[int]) -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM content_artifactblob WHERE artifact_id = ANY(%s) RETURNING blob_id", [artifact_ids])
        return {row[0] for row in cursor.fetchall()}


def _end(deletion: Deletion) -> int:
    """Remove the deletion and its tags; its repository and project follow when nothing needs them any more. Returns the
    number of tags."""
    tags, _ = Tag.objects.filter(deletion_id=deletion.pk, deleted_at__isnull=False).delete()
    Deletion.objects.filter(pk=deletion.pk).delete()
    if (
        deletion.repository_id
        and Repository.objects.filter(pk=deletion.repository_id, deleted_at__isnull=False).exists()
    ):
        garbage.queue(Garbage.Kind.REPOSITORY, [deletion.repository_id], delay_s=0.0)
    if deletion.project_id and Project.objects.filter(pk=deletion.project_id, deleted_at__isnull=False).exists():
        garbage.queue(Garbage.Kind.PROJECT, [deletion.project_id], delay_s=0.0)
    return tags
