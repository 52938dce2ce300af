"""Rows that nothing needs any more: manifests without an artifact, and deleted repositories and projects that are
empty."""

from __future__ import annotations

from typing import Any, Final

from django.db import connection
from django.db.models import QuerySet

from registry_core.content import garbage
from registry_core.content.garbage import Candidate
from registry_core.content.models import Artifact, Deletion, Garbage, Project, Repository, RepositoryBlob, Tag, Upload
from registry_core.content.reporters import Reporter

BATCH: Final = 500
Kind = Garbage.Kind


def remove_manifests(reporter: Reporter) -> int:
    """Remove the queued manifests that no artifact has; returns their number."""
    removed = 0
    for batch in garbage.due(Kind.MANIFEST, limit=BATCH):
        reporter.check()
        with reporter.fenced():
            gone = _remove_manifests([each.target_id for each in batch])
            busy = _busy_manifests([each.target_id for each in batch if each.target_id not in gone])
            garbage.settle([each for each in batch if each.target_id not in busy])
        removed += len(gone)
    return removed


_LOCK: Final = "SELECT id FROM content_manifest WHERE id = ANY(%s) ORDER BY id FOR UPDATE SKIP LOCKED"
_UNUSED: Final = """
    SELECT id FROM content_manifest AS manifest WHERE id = ANY(%s)
      AND NOT EXISTS (SELECT FROM content_artifact WHERE manifest_id = manifest.id)
      AND NOT EXISTS (SELECT FROM content_projectmanifest WHERE manifest_id = manifest.id)
"""


def _remove_manifests(ids: list[int]) -> set[int]:
    """A put locks the manifest before its artifact: what is locked here and has no artifact gets none."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [ids])
        locked = [row[0] for row in cursor.fetchall()]
        cursor.execute(_UNUSED, [locked])
        unused = [row[0] for row in cursor.fetchall()]
        cursor.execute("DELETE FROM content_manifestdescriptor WHERE manifest_id = ANY(%s)", [unused])
        cursor.execute("DELETE FROM content_manifest WHERE id = ANY(%s)", [unused])
        return set(unused)


def _busy_manifests(left: list[int]) -> set[int]:
    """Manifests without an artifact that were left because somebody has locked them."""
    with connection.cursor() as cursor:
        cursor.execute(_UNUSED, [left])
        return {row[0] for row in cursor.fetchall()}


def remove_repositories(reporter: Reporter) -> int:
    """Remove the queued repositories that are deleted and empty; returns their number."""
    removed = 0
    for batch in garbage.due(Kind.REPOSITORY, limit=1):
        reporter.check()
        with reporter.fenced():
            removed += _remove_repository(batch[0])
    return removed


def _remove_repository(candidate: Candidate) -> int:
    gone = Repository.objects.select_for_update().filter(pk=candidate.target_id, deleted_at__isnull=False).first()
    in_it: dict[str, int] = {"repository_id": candidate.target_id}
    if gone is None or _any(Artifact.objects.filter(**in_it), Tag.objects.filter(**in_it)):
        garbage.settle([candidate])
        return 0
    # An upload into it ends by itself, or is swept.
    if _any(Upload.objects.filter(**in_it), RepositoryBlob.objects.filter(**in_it), Deletion.objects.filter(**in_it)):
        return 0
    gone.delete()
    garbage.queue(Kind.PROJECT, [gone.project_id], delay_s=0.0)
    garbage.settle([candidate])
    return 1


def remove_projects(reporter: Reporter) -> int:
    """Remove the queued projects that are deleted and have neither repositories nor a deletion to be restored by, with
    their members, robot accounts and settings; returns their number."""
    removed = 0
    for batch in garbage.due(Kind.PROJECT, limit=1):
        reporter.check()
        with reporter.fenced():
            removed += _remove_project(batch[0])
    return removed


def _remove_project(candidate: Candidate) -> int:
    gone = Project.objects.select_for_update().filter(pk=candidate.target_id, deleted_at__isnull=False).first()
    repositories = Repository.objects.filter(project_id=candidate.target_id)
    if gone is None or _any(repositories, Deletion.objects.filter(project_id=candidate.target_id)):
        garbage.settle([candidate])
        return 0
    gone.delete()
    garbage.settle([candidate])
    return 1


def _any(*rows: QuerySet[Any]) -> bool:
    return any(query.exists() for query in rows)
