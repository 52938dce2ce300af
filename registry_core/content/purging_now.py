"""The immediate purge of one deletion, such as that of a leaked secret: rows and objects go at once, without the grace
period, and the audit log says who ordered it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from registry_core.access import Cause
from registry_core.content import unused_blobs, unused_rows
from registry_core.content.collecting import why_not_to_delete
from registry_core.content.events import DeletionPurged
from registry_core.content.models import Artifact, Blob, Deletion
from registry_core.content.purging import purge_deletion
from registry_core.content.read_only import check_writable
from registry_core.content.reporters import Lines
from registry_core.errors import NotFound
from registry_core.events.outbox import emit
from registry_core.storage.stores import configured_stores

LIMIT_S: Final = 20.0
"""After this time the rest is left to garbage collection, so that a request ends."""


@dataclass(frozen=True, slots=True)
class PurgedNow:
    """What was removed. `kept_blobs`: blobs that it had and that something else uses, or that the store still has.
    `is_complete`: nothing is left to garbage collection."""

    artifacts: int
    objects: int
    freed_bytes: int
    kept_blobs: int
    is_complete: bool


class _TimeUp(Exception):
    """The rest is for garbage collection."""


class _Limited(Lines):
    """Ends the work after LIMIT_S seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._until_s = time.monotonic() + LIMIT_S

    def check(self) -> None:
        if time.monotonic() > self._until_s:
            raise _TimeUp


def purge_now(*, deletion_id: int, cause: Cause) -> PurgedNow:
    """Remove for good what one delete removed, whatever time it has left. Raises NotFound if there is no such deletion
    (any more), or Refused while the registry is read only."""
    check_writable()
    begun: list[Deletion] = []

    def begin(deletion: Deletion) -> None:
        begun.append(deletion)
        _tell(deletion, cause)

    reporter, objects, freed_bytes, is_complete = _Limited(), 0, 0, True
    artifacts, blob_ids = 0, set[int]()
    try:
        purged = purge_deletion(deletion_id, check=reporter.check, on_begin=begin)
        artifacts, blob_ids = purged.artifacts, purged.blob_ids
        unused_rows.remove_manifests(reporter)
        for store in configured_stores():
            if why_not_to_delete(store):
                is_complete = False
            else:
                unused_blobs.doom_unused(reporter, stores=[store.name], targets=blob_ids)
                freed = unused_blobs.delete_doomed(reporter, store, workers=1, blob_ids=blob_ids)
                objects, freed_bytes = objects + freed.objects, freed_bytes + freed.bytes
    except _TimeUp:
        is_complete = False
    if not begun:
        raise NotFound(f"there is no deletion {deletion_id}: it was purged or restored")
    kept = Blob.objects.filter(pk__in=blob_ids).count()
    return PurgedNow(artifacts, objects, freed_bytes, kept, is_complete)


def _tell(deletion: Deletion, cause: Cause) -> None:
    project_id = deletion.project_id
    if deletion.repository is not None:
        project_id = deletion.repository.project_id
    emit(
        DeletionPurged(
            name=deletion.name,
            kind=Deletion.Kind(deletion.kind).label,
            deletion=deletion.pk,
            artifacts=Artifact.objects.filter(deletion_id=deletion.pk).count(),
        ),
        cause=cause,
        project_id=project_id,
        repository_id=deletion.repository_id,
    )
