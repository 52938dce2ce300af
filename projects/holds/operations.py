"""Legal holds are set and released. Each function is one transaction."""

from __future__ import annotations

from typing import Final

from django.db import connection
from django.db.models.functions import Now

from projects.events import ArtifactHeld, ArtifactReleased
from projects.holds.queries import NAME
from projects.models import Hold
from registry_core.access import Cause
from registry_core.content.project_policies import policies_changing
from registry_core.content.repositories import RepositoryRef, retried
from registry_core.digests import Digest
from registry_core.errors import InvalidInput, NotFound
from registry_core.events.outbox import emit
from registry_core.names.readable import check_text

REASON_MAX: Final = 1024


@retried
def set_hold(*, repository: RepositoryRef, digest: Digest, reason: str, cause: Cause) -> bool:
    """Hold an artifact, or change the reason of its hold; returns whether anything changed. Nothing deletes the
    artifact from then on.

    Raises InvalidInput, or NotFound if the artifact is deleted.
    """
    reason = reason.strip()
    if not 1 <= len(reason) <= REASON_MAX:
        raise InvalidInput(f"state the reason of the hold, in at most {REASON_MAX} characters")
    check_text(reason, what="the reason of a hold")
    locked: list[int] = []
    with policies_changing(
        project=repository.project,
        cause=cause,
        add=[NAME],
        lock_first=lambda: locked.append(_lock_artifact(repository, digest)),
    ):
        (artifact_id,) = locked[-1:]
        if Hold.objects.filter(artifact_id=artifact_id, reason=reason).exists():
            return False
        _store(repository, artifact_id, reason, cause)
        _emit(ArtifactHeld(artifact=artifact_id, digest=str(digest), hold_reason=reason), repository, cause)
    return True


@retried
def release_hold(*, repository: RepositoryRef, digest: Digest, cause: Cause) -> None:
    """End the hold of an artifact. Raises NotFound if it is not held."""
    with policies_changing(project=repository.project, cause=cause) as applied:
        hold = Hold.objects.filter(
            repository_id=repository.id, artifact__digest=digest.raw, artifact__deleted_at=None
        ).first()
        if hold is None:
            raise NotFound(f"{repository.name}@{digest} is not under legal hold")
        event = ArtifactReleased(
            artifact=hold.artifact_id, digest=str(digest), hold_reason=hold.reason, held_by=hold.subject_name
        )
        hold.delete()
        applied.turn(NAME, is_on=Hold.objects.filter(project_id=repository.project.id).exists())
        _emit(event, repository, cause)


def _lock_artifact(repository: RepositoryRef, digest: Digest) -> int:
    """Exclude deletes of the artifact; its id. Raises NotFound."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id FROM content_artifact
            WHERE repository_id = %s AND digest = %s AND deleted_at IS NULL FOR NO KEY UPDATE
            """,
            [repository.id, digest.raw],
        )
        row = cursor.fetchone()
    if row is None:
        raise NotFound(f"there is no artifact {digest} in {repository.name}")
    return int(row[0])


def _store(repository: RepositoryRef, artifact_id: int, reason: str, cause: Cause) -> None:
    values = {
        "project_id": repository.project.id,
        "repository_id": repository.id,
        "reason": reason,
        "subject_kind": int(cause.subject.kind),
        "subject_id": cause.subject.id,
        "subject_name": cause.subject.name[:255],
        "set_at": Now(),
    }
    Hold.objects.update_or_create(artifact_id=artifact_id, defaults=values)


def _emit(event: ArtifactHeld | ArtifactReleased, repository: RepositoryRef, cause: Cause) -> None:
    emit(
        event,
        cause=cause,
        project_id=repository.project.id,
        repository_id=repository.id,
        changed=[repository.key],
    )
