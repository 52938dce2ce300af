"""`/projects/{project_name_or_id}/trash` and `/trash/projects`: what was deleted, restored or purged for good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.db.models import Count, QuerySet, Sum
from rest_framework.request import Request
from rest_framework.response import Response

from projects.services import restore_project
from registry_core.api.base import ApiView
from registry_core.api.messages import Answer, Time, api_time
from registry_core.api.openapi import PAGED, operation
from registry_core.api.paging import ListRules, listed
from registry_core.api.permissions import SYSADMIN, in_project
from registry_core.api.query import choice_key, number_key, text_key, time_key
from registry_core.content.deletions import Kind, restorable
from registry_core.content.models import Artifact, Deletion, Tag
from registry_core.content.purging_now import PurgedNow, purge_now
from registry_core.content.restoring import repository_of_deletion, restore_deletion
from registry_core.errors import NotFound

TAG: Final = "trash"
RULES: Final = ListRules(
    keys={
        "id": number_key("pk"),
        "kind": choice_key("kind", {kind.label: kind.value for kind in Kind}),
        "name": text_key("name"),
        "repository": text_key("repository__name"),
        "deleted_by": text_key("subject_name"),
        "reason": text_key("reason"),
        "deletion_time": time_key("deleted_at"),
        "expiration_time": time_key("expires_at"),
    },
    sorts={"id": "pk", "deletion_time": "deleted_at", "expiration_time": "expires_at"},
)


class DeletionAnswer(Answer, kw_only=True):
    """One delete. `kind` (tag, artifact, repository, project) and `name` are what was deleted, in `repository`, which
    is empty for a project; `artifacts` and `tags` what went with it; `size_bytes` of the artifacts, each counted
    whole."""

    id: int
    kind: str
    name: str
    repository: str
    artifacts: int
    tags: list[str]
    size_bytes: int
    deleted_by: str
    reason: str
    deletion_time: Time
    expiration_time: Time


class RestoredAnswer(Answer, kw_only=True):
    """What was restored."""

    kind: str
    name: str
    repository: str
    artifacts: int
    tags: list[str]


class PurgedAnswer(Answer, kw_only=True):
    """What was removed for good. `freed_bytes`: as the stores had them; `kept_blobs`: of what it had, how many blobs
    something else uses or a store still has; `is_complete`: whether nothing was left to garbage collection."""

    artifacts: int
    objects: int
    freed_bytes: int
    kept_blobs: int
    is_complete: bool


class TrashView(ApiView):
    """`/projects/{project_name_or_id}/trash`."""

    access = {"GET": in_project("artifact", "delete")}

    @operation("listTrash", TAG, parameters=PAGED, answer=list[DeletionAnswer])
    def get(self, request: Request, project_name_or_id: str) -> Response:
        """List what was deleted in the project and can still be restored, the last delete first."""
        return listed(request, _deleted_in(self.project.pk), RULES, _present)


class _OfDeletion(ApiView):
    """A resource below `…/trash/{deletion_id}`."""

    def found(self, rows: QuerySet[Deletion]) -> Deletion:
        """The deletion of the URL. Raises NotFound."""
        number = int(self.kwargs["deletion_id"])
        found = rows.filter(pk=number).first()
        if found is None:
            raise NotFound(f"there is no deletion {number} here: it has expired, or was purged or restored")
        return found


class RestoreView(_OfDeletion):
    """`/projects/{project_name_or_id}/trash/{deletion_id}/restore`."""

    access = {"POST": in_project("artifact", "delete")}

    @operation("restoreDeleted", TAG, answer=RestoredAnswer, errors=(400, 401, 403, 404, 409, 412))
    def post(self, _request: Request, project_name_or_id: str, deletion_id: int) -> Response:
        """Restore exactly what one delete removed. 409 if a name is in use again, 412 if something that it needs is
        deleted itself, 403 if the quota or a policy does not allow it."""
        deletion = self.found(_deleted_in(self.project.pk))
        repository = repository_of_deletion(deletion)
        done = restore_deletion(repository=repository, deletion_id=deletion.pk, cause=self.cause)
        return Response(
            RestoredAnswer(
                kind=Kind(done.kind).label,
                name=done.name,
                repository=str(done.repository.name),
                artifacts=done.artifacts,
                tags=list(done.tags),
            )
        )


class DeletionView(_OfDeletion):
    """`/projects/{project_name_or_id}/trash/{deletion_id}`."""

    access = {"DELETE": in_project("", "delete")}

    @operation("purgeDeleted", TAG, answer=PurgedAnswer)
    def delete(self, _request: Request, project_name_or_id: str, deletion_id: int) -> Response:
        """Remove for good, at once, what one delete removed, such as a leaked secret. It cannot be undone."""
        rows = Deletion.objects.filter(repository__project_id=self.project.pk)
        return _purged(purge_now(deletion_id=self.found(rows).pk, cause=self.cause))


class ProjectsTrashView(ApiView):
    """`/trash/projects`."""

    access = {"GET": SYSADMIN}

    @operation("listDeletedProjects", TAG, parameters=PAGED, answer=list[DeletionAnswer], errors=(400, 401, 403))
    def get(self, request: Request) -> Response:
        """List the deleted projects that can still be restored, the last one first."""
        return listed(request, restorable().filter(kind=Kind.PROJECT), RULES, _present)


class ProjectRestoreView(_OfDeletion):
    """`/trash/projects/{deletion_id}/restore`."""

    access = {"POST": SYSADMIN}

    @operation("restoreProject", TAG, answer=RestoredAnswer, errors=(400, 401, 403, 404, 409))
    def post(self, _request: Request, deletion_id: int) -> Response:
        """Restore a deleted project with its settings, members and robot accounts. 409 if its name is in use again."""
        project = restore_project(deletion_id=deletion_id, cause=self.cause)
        return Response(RestoredAnswer(kind=Kind.PROJECT.label, name=project.name, repository="", artifacts=0, tags=[]))


class ProjectDeletionView(_OfDeletion):
    """`/trash/projects/{deletion_id}`."""

    access = {"DELETE": SYSADMIN}

    @operation("purgeProject", TAG, answer=PurgedAnswer)
    def delete(self, _request: Request, deletion_id: int) -> Response:
        """Remove a deleted project for good, with all that was deleted in it."""
        found = self.found(Deletion.objects.filter(kind=Kind.PROJECT))
        return _purged(purge_now(deletion_id=found.pk, cause=self.cause))


def _deleted_in(project_id: int) -> QuerySet[Deletion]:
    return restorable().filter(repository__project_id=project_id)


def _purged(purged: PurgedNow) -> Response:
    return Response(
        PurgedAnswer(
            artifacts=purged.artifacts,
            objects=purged.objects,
            freed_bytes=purged.freed_bytes,
            kept_blobs=purged.kept_blobs,
            is_complete=purged.is_complete,
        )
    )


def _present(rows: Sequence[Deletion]) -> list[Any]:
    keys = [row.pk for row in rows]
    artifacts = {
        row["deletion_id"]: (row["count"], row["size"])
        for row in Artifact.objects.filter(deletion_id__in=keys)
        .values("deletion_id")
        .annotate(count=Count("pk"), size=Sum("size_bytes"))
    }
    tags: dict[int, list[str]] = {}
    named = Tag.objects.filter(deletion_id__in=keys).order_by("name")
    for deletion_id, name in named.values_list("deletion_id", "name")[:TAGS_MAX]:
        tags.setdefault(deletion_id or 0, []).append(name)
    names = dict(Deletion.objects.filter(pk__in=keys, repository__isnull=False).values_list("pk", "repository__name"))
    return [
        DeletionAnswer(
            id=row.pk,
            kind=Kind(row.kind).label,
            name=row.name,
            repository=names.get(row.pk, ""),
            artifacts=artifacts.get(row.pk, (0, 0))[0],
            tags=tags.get(row.pk, []),
            size_bytes=artifacts.get(row.pk, (0, 0))[1],
            deleted_by=row.subject_name,
            reason=row.reason,
            deletion_time=api_time(row.deleted_at),
            expiration_time=api_time(row.expires_at),
        )
        for row in rows
    ]


TAGS_MAX: Final = 1000
"""The most tags on a page; a deletion may have more."""
