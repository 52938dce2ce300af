"""Untagged artifacts that nothing refers to, found for garbage collection and deleted as a client would delete them: to
the trash, with the policies asked, and with an event."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from django.db import connection

from registry_core.access import Cause
from registry_core.config import get_config
from registry_core.content.errors import ContentInUse, ManifestUnknown, Refused
from registry_core.content.manifests import delete_manifest, refuse_tagged
from registry_core.content.models import ManifestDescriptor, Repository
from registry_core.content.reporters import Reporter
from registry_core.content.repositories import RepositoryRef, repository_ref
from registry_core.digests import Digest

PAGE: Final = 2000

# An artifact that is about another one, which is there, stays with that one; so does what an index lists.
_UNTAGGED: Final = f"""
    WITH page AS (
        SELECT id, repository_id, digest, subject_digest, accessory_of, pushed_at FROM content_artifact
        WHERE id > %(last)s AND deleted_at IS NULL ORDER BY id LIMIT %(page)s
    )
    SELECT page.id, page.repository_id, page.digest, project.name || '/' || repository.name
    FROM page JOIN content_repository AS repository ON repository.id = page.repository_id
    JOIN content_project AS project ON project.id = repository.project_id
    WHERE pushed_at <= clock_timestamp() - make_interval(secs => %(grace)s)
      AND NOT EXISTS (SELECT FROM content_tag WHERE artifact_id = page.id AND deleted_at IS NULL)
      AND NOT EXISTS (
          SELECT FROM content_artifact AS subject WHERE subject.repository_id = page.repository_id
            AND subject.digest IN (page.subject_digest, page.accessory_of) AND subject.deleted_at IS NULL)
      AND NOT EXISTS (
          SELECT FROM content_manifestdescriptor AS entry
          JOIN content_artifact AS parent ON parent.manifest_id = entry.manifest_id
          WHERE entry.role = {ManifestDescriptor.Role.MANIFEST:d} AND entry.digest = page.digest
            AND parent.repository_id = page.repository_id AND parent.deleted_at IS NULL)
    ORDER BY page.id
"""  # noqa: S608 a constant
_IS_YOUNG: Final = """
    SELECT pushed_at > clock_timestamp() - make_interval(secs => %s) FROM content_artifact
    WHERE repository_id = %s AND digest = %s AND deleted_at IS NULL
"""
_LAST: Final = """
    SELECT max(id) FROM (
        SELECT id FROM content_artifact WHERE id > %(last)s AND deleted_at IS NULL ORDER BY id LIMIT %(page)s
    ) AS page
"""


@dataclass(frozen=True, slots=True)
class Untagged:
    """An artifact that no tag and no other artifact needs. `name`: of its repository."""

    artifact_id: int
    repository_id: int
    digest: Digest
    name: str


def find_untagged(reporter: Reporter) -> Iterator[Untagged]:
    """The untagged artifacts that were pushed before the grace period of the settings, indexes before what they
    list."""
    values = {"last": 0, "page": PAGE, "grace": get_config().gc_grace_s}
    while values["last"] is not None:
        reporter.check()
        with connection.cursor() as cursor:
            cursor.execute(_UNTAGGED, values)
            found = cursor.fetchall()
            cursor.execute(_LAST, values)
            values["last"] = cursor.fetchone()[0]
        for artifact_id, repository_id, digest, name in found:
            yield Untagged(artifact_id, repository_id, Digest(bytes(digest)), name)


def delete_untagged(reporter: Reporter, cause: Cause) -> int:
    """Delete the untagged artifacts, and then those that only they listed; returns their number. What a policy protects
    stays, and the log says why."""
    deleted, refused = 0, set[int]()
    while True:
        before = deleted
        for untagged in find_untagged(reporter):
            reporter.check()
            if untagged.artifact_id not in refused:
                is_deleted = _delete(untagged, reporter, cause)
                deleted += is_deleted
                refused |= set() if is_deleted else {untagged.artifact_id}
        if deleted == before:
            return deleted


def refuse_wanted(repository: RepositoryRef, digest: Digest) -> Callable[[Collection[str]], None]:
    """For `delete_manifest(unless=…)`: an artifact stays that got a tag since it was found, or was pushed within the
    grace period. Raises ContentInUse."""

    def refuse(tags: Collection[str]) -> None:
        refuse_tagged(tags)
        with connection.cursor() as cursor:
            cursor.execute(_IS_YOUNG, [get_config().gc_grace_s, repository.id, digest.raw])
            row = cursor.fetchone()
        if row and row[0]:
            raise ContentInUse(f"{digest} was pushed lately, and may belong to a push in progress: try again later")

    return refuse


def _delete(untagged: Untagged, reporter: Reporter, cause: Cause) -> bool:
    repository = _living(untagged.repository_id)
    if repository is None:
        return False
    with suppress(ManifestUnknown, ContentInUse):
        try:
            delete_manifest(
                repository=repository,
                digest=untagged.digest,
                cause=cause,
                unless=refuse_wanted(repository, untagged.digest),
            )
        except Refused as error:
            reporter.log(f"kept {repository.name}@{untagged.digest}: {error.message}")
            return False
        reporter.log(f"deleted {repository.name}@{untagged.digest}: it has no tag, and nothing refers to it")
        return True
    return False


def _living(repository_id: int) -> RepositoryRef | None:
    rows = Repository.objects.select_related("project").filter(pk=repository_id)
    found = rows.filter(deleted_at=None, project__deleted_at=None).first()
    return repository_ref(found) if found else None
