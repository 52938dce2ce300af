"""What a run of garbage collection would remove now, computed in one snapshot, without a lock and without a change.

Its rules are those of the run: `deletions.purgeable`, `unused_links`, `unused_rows` and `unused_blobs`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection

from registry_core.content import unused_links
from registry_core.content.deletions import purgeable
from registry_core.content.models import Blob, Deletion, Garbage
from registry_core.content.unqueued import LINKS
from registry_core.digests import Digest

Kind = Deletion.Kind

# The deletions with all that belongs to them; what they have; unused links whose time is over; and every blob that one
# of these refers to, or that is queued, unless something refers to it that stays.
_PLAN: Final = f"""
    WITH named AS (
        SELECT id, kind, repository_id, project_id FROM content_deletion WHERE id = ANY(%(deletions)s)
    ), deletion AS (
        SELECT id FROM named
        UNION SELECT inner_one.id FROM named JOIN content_deletion AS inner_one USING (repository_id)
              WHERE named.kind = {Kind.REPOSITORY:d}
        UNION SELECT inner_one.id FROM named JOIN content_repository AS repository USING (project_id)
              JOIN content_deletion AS inner_one ON inner_one.repository_id = repository.id
              WHERE named.kind = {Kind.PROJECT:d}
    ), artifact AS (
        SELECT id, manifest_id FROM content_artifact WHERE deletion_id IN (SELECT id FROM deletion)
    ), looked_at AS (
        SELECT repository_id, target_id AS blob_id FROM content_garbage
        WHERE kind = {Garbage.Kind.LINK:d} AND due_at <= now()
        UNION SELECT repository_id, blob_id FROM content_repositoryblob
        WHERE created_at > to_timestamp(%(since)s) AND created_at <= to_timestamp(%(until)s)
    ), link AS (
        SELECT link.repository_id, link.blob_id FROM looked_at JOIN content_repositoryblob AS link
        USING (repository_id, blob_id) WHERE link.grace_until <= now() AND {unused_links.UNUSED}
    ), queued AS (
        SELECT target_id AS blob_id, due_at FROM content_garbage WHERE kind = {Garbage.Kind.BLOB:d}
    ), touched AS (
        SELECT used.blob_id FROM artifact JOIN content_artifactblob AS used ON used.artifact_id = artifact.id
        UNION SELECT blob_id FROM link UNION SELECT blob_id FROM queued
    ), unused AS (
        SELECT blob.digest, blob.size_bytes, blob.store,
               coalesce((SELECT due_at FROM queued WHERE blob_id = blob.id) <= now(), true)
               AND NOT EXISTS (SELECT FROM link WHERE blob_id = blob.id) AS is_now
        FROM touched JOIN content_blob AS blob ON blob.id = touched.blob_id AND blob.state <> {Blob.State.DELETING:d}
        WHERE NOT EXISTS (
                  SELECT FROM content_repositoryblob AS other WHERE other.blob_id = blob.id
                  AND (other.repository_id, other.blob_id) NOT IN (SELECT repository_id, blob_id FROM link))
          AND NOT EXISTS (
                  SELECT FROM content_artifactblob AS used WHERE used.blob_id = blob.id
                  AND used.artifact_id NOT IN (SELECT id FROM artifact))
    ), manifest AS (
        SELECT manifest.digest, octet_length(manifest.content) AS size_bytes
        FROM (SELECT manifest_id AS id FROM artifact
              UNION SELECT target_id FROM content_garbage WHERE kind = {Garbage.Kind.MANIFEST:d}) AS touched
        JOIN content_manifest AS manifest USING (id)
        WHERE NOT EXISTS (SELECT FROM content_artifact AS other WHERE other.manifest_id = manifest.id
                          AND other.id NOT IN (SELECT id FROM artifact))
    )
    SELECT 'deletion' AS sort, NULL::bytea AS digest, 0 AS size_bytes, id::text AS place, true AS is_now FROM deletion
    UNION ALL SELECT 'manifest', digest, size_bytes, 'database', true FROM manifest
    UNION ALL SELECT 'blob', digest, size_bytes, store, is_now FROM unused
    UNION ALL SELECT 'blob', blob.digest, doomed.size_bytes, doomed.store, true FROM content_doomedobject AS doomed
              LEFT JOIN content_blob AS blob ON blob.id = doomed.blob_id
    ORDER BY sort, digest, place
"""  # noqa: S608 constants


@dataclass(frozen=True, slots=True)
class Planned:
    """What would be removed: a blob or a manifest with its size, or (without a digest) a deletion by its id in `place`.
    `place` is the store of a blob. `is_now`: by this run, and not by a later one, after the grace period."""

    sort: str
    digest: Digest | None
    size_bytes: int
    place: str
    is_now: bool

    def __str__(self) -> str:
        if self.digest is None:
            return f"would purge the {self.sort} {self.place}"
        when = "" if self.is_now else ", by a later run, after the grace period"
        return f"would remove the {self.sort} {self.digest} ({self.size_bytes} bytes) from the {self.place}{when}"


def plan(*, is_trash_emptied: bool) -> Iterator[Planned]:
    """Everything that a run would remove, in the order of digests."""
    values: dict[str, Any] = {
        "deletions": list(purgeable(is_everything=is_trash_emptied).values_list("pk", flat=True)),
        "since": _looked_until_s(),
        "until": unused_links.settled_until_s(),
    }
    with connection.cursor() as cursor:
        cursor.execute(_PLAN, values)
        for sort, digest, size_bytes, place, is_now in cursor.fetchall():
            yield Planned(sort, None if digest is None else Digest(bytes(digest)), size_bytes, place, is_now)


def _looked_until_s() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce((SELECT seq FROM events_cursor WHERE name = %s), 0)", [LINKS])
        return int(cursor.fetchone()[0])
