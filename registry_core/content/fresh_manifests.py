"""Stores a new manifest under new tags in one statement, which is how most pushes end.

It does what the steps of `manifests.put_manifest` do for such a manifest, takes the same locks in the same order, and
does nothing for other manifests.
"""

from __future__ import annotations

from typing import Any

from django.db import DataError, IntegrityError, transaction
from psycopg.errors import DivisionByZero, UniqueViolation

from registry_core.access import Cause
from registry_core.content import quota
from registry_core.content.descriptions import Description
from registry_core.content.events import ArtifactPushed
from registry_core.content.models import Blob
from registry_core.content.parsing import ParsedManifest, Role
from registry_core.content.put_statements import (
    INSERT_DESCRIPTORS,
    insert_artifact,
    insert_manifest,
    insert_uses,
    put_values,
)
from registry_core.content.repositories import RepositoryRef
from registry_core.database.statements import statements
from registry_core.events.bell import ring
from registry_core.events.outbox import event_values, insert_event

# Each step runs only if the previous one did. Concurrent changes either make an insert fail on the unique digest or tag
# name, or delete a link, so that a blob is missing here. A living artifact or tag that is being deleted, in a
# transaction that the statement's snapshot does not include, makes the statement do nothing. If others have used up the
# stripe's allowance meanwhile, a division by zero rolls everything back: the stripe is locked last, to avoid deadlocks.
_STORE = f"""
    WITH repository AS (
        SELECT repository.id FROM content_repository AS repository
        JOIN content_project AS project ON project.id = repository.project_id AND project.deleted_at IS NULL
        WHERE repository.id = %(repository)s AND repository.deleted_at IS NULL FOR KEY SHARE OF repository, project
    ), linked AS (
        SELECT blob.id FROM content_blob AS blob
        JOIN content_repositoryblob AS link
             ON link.blob_id = blob.id AND link.repository_id = (SELECT id FROM repository)
        WHERE blob.digest = ANY(%(blobs)s::bytea[]) AND blob.state = {Blob.State.LIVE:d}
        ORDER BY blob.digest FOR KEY SHARE OF link
    ), fresh AS (
        SELECT id FROM repository WHERE (SELECT count(*) FROM linked) = cardinality(%(blobs)s::bytea[])
        AND NOT EXISTS (SELECT FROM content_manifest WHERE digest = %(digest)s)
        AND NOT EXISTS (
            SELECT FROM content_artifact
            WHERE repository_id = %(repository)s AND digest = %(digest)s AND deleted_at IS NULL)
        AND NOT EXISTS (
            SELECT FROM content_tag
            WHERE repository_id = %(repository)s AND name = ANY(%(tags)s::text[]) AND deleted_at IS NULL)
        AND EXISTS (
            SELECT FROM content_quotastripe
            WHERE project_id = %(project)s AND stripe = %(stripe)s AND used_bytes + %(bytes)s <= allowance_bytes)
    ), manifest AS ({insert_manifest("FROM fresh")} RETURNING id),
    listed AS ({INSERT_DESCRIPTORS}),
    artifact AS ({insert_artifact("id", "FROM manifest")} RETURNING id),
    used AS ({insert_uses("linked.id", "linked")}),
    tag AS (
        INSERT INTO content_tag (repository_id, name, artifact_id)
        SELECT %(repository)s, name, artifact.id FROM artifact, unnest(%(tags)s::text[]) AS name
        RETURNING name, clock_timestamp() AS made_at
    ), moved AS (
        INSERT INTO content_taghistory
        (repository_id, tag, old_digest, new_digest, subject_kind, subject_id, reason, at)
        SELECT %(repository)s, name, NULL, %(digest)s, %(event_subject_kind)s, %(event_subject)s, %(reason)s, made_at
        FROM tag
    ), told AS (
        {insert_event("FROM artifact", payload="%(event_payload)s || jsonb_build_object('artifact', id)")}
    ), paid AS (
        INSERT INTO content_projectmanifest (project_id, manifest_id, artifacts) SELECT %(project)s, id, 1 FROM manifest
    ), entered AS (
        INSERT INTO content_quotaentry (project_id, manifest_id, delta_bytes, reason)
        SELECT %(project)s, id, %(bytes)s, 'push' FROM manifest
    ), charged AS (
        UPDATE content_quotastripe SET used_bytes = used_bytes + %(bytes)s
        WHERE project_id = %(project)s AND stripe = %(stripe)s AND used_bytes + %(bytes)s <= allowance_bytes
          AND EXISTS (SELECT FROM artifact) AND (SELECT count(*) FROM tag) = cardinality(%(tags)s::text[])
        RETURNING 1
    )
    SELECT id / (SELECT count(*) FROM charged) FROM artifact
"""  # noqa: S608 a constant
_STORE = " ".join(_STORE.split())  # psycopg does not cache the parsing of statements over 4096 characters


def is_plain(manifest: ParsedManifest) -> bool:
    """Whether the manifest refers to blobs only, so that no other artifact needs to be locked."""
    return manifest.subject is None and all(
        descriptor.role != Role.MANIFEST and not descriptor.is_foreign for descriptor in manifest.descriptors
    )


def store_fresh(
    *,
    repository: RepositoryRef,
    manifest: ParsedManifest,
    description: Description | None,
    tags: tuple[str, ...],
    cause: Cause,
) -> int | None:
    """Store a plain manifest that is no accessory, under new tags; returns the artifact's id. None, with nothing done,
    if the manifest, the artifact or a tag exists, a blob or its link is missing, the repository is deleted, or the
    project's allowance must be redistributed."""
    pushed = ArtifactPushed(digest=str(manifest.digest), tags=list(tags), reason=cause.reason)
    values: dict[str, Any] = {
        **put_values(repository=repository, manifest=manifest, description=description),
        "project": repository.project.id,
        "blobs": sorted({descriptor.digest.raw for descriptor in manifest.descriptors}),
        "tags": sorted(tags),
        "reason": cause.reason,
        "stripe": quota.own_stripe(),
        "bytes": len(manifest.content),
        **event_values(
            pushed,
            cause=cause,
            project_id=repository.project.id,
            repository_id=repository.id,
            changed=[repository.key],
        ),
    }
    try:
        with statements() as cursor:
            cursor.execute(_STORE, values)
            row = cursor.fetchone()
    except (IntegrityError, DataError) as error:
        if not isinstance(error.__cause__, UniqueViolation | DivisionByZero):
            raise
        return None
    if row is None:
        return None
    transaction.on_commit(ring)
    return int(row[0])
