"""Stores a new manifest under new tags in one statement, which is how most pushes end.

It does what the steps of `manifests.put_manifest` do for such a manifest, takes the same locks in the same order, and
does nothing for other manifests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from django.db import DataError, IntegrityError, transaction
from psycopg.errors import DivisionByZero, UniqueViolation
from psycopg.types.json import Jsonb

from registry_core.access import Subject
from registry_core.content import quota
from registry_core.content.descriptions import Description
from registry_core.content.models import Blob
from registry_core.content.parsing import Descriptor, ParsedManifest, Role
from registry_core.content.repositories import RepositoryRef
from registry_core.database.statements import statements
from registry_core.events.bell import ring
from registry_core.machine.state import machine_id

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
    ), manifest AS (
        INSERT INTO content_manifest (digest, content, annotations, kind, config_type, extra_attrs, icon)
        SELECT %(digest)s, %(content)s, %(annotations)s::bytea, %(kind)s, %(config_type)s, %(extra_attrs)s::bytea,
               %(icon)s::bytea
        FROM fresh RETURNING id
    ), listed AS (
        INSERT INTO content_manifestdescriptor
        (manifest_id, ordinal, role, digest, media_type, size_bytes, platform, is_foreign)
        SELECT manifest.id, ordinal - 1, role, digest, media_type, size_bytes, platform, is_foreign
        FROM manifest, unnest(%(roles)s::smallint[], %(digests)s::bytea[], %(media_types)s::text[], %(sizes)s::bigint[],
                              %(platforms)s::jsonb[], %(foreign)s::boolean[])
             WITH ORDINALITY AS descriptor (role, digest, media_type, size_bytes, platform, is_foreign, ordinal)
    ), artifact AS (
        INSERT INTO content_artifact
        (repository_id, manifest_id, digest, media_type, artifact_type, size_bytes, pull_count)
        SELECT %(repository)s, id, %(digest)s, %(media_type)s, %(artifact_type)s, %(size)s, 0 FROM manifest RETURNING id
    ), used AS (
        INSERT INTO content_artifactblob (repository_id, blob_id, artifact_id, is_trashed)
        SELECT %(repository)s, linked.id, artifact.id, false FROM artifact, linked
    ), tag AS (
        INSERT INTO content_tag (repository_id, name, artifact_id)
        SELECT %(repository)s, name, artifact.id FROM artifact, unnest(%(tags)s::text[]) AS name
        RETURNING name, clock_timestamp() AS made_at
    ), moved AS (
        INSERT INTO content_taghistory
        (repository_id, tag, old_digest, new_digest, subject_kind, subject_id, reason, at)
        SELECT %(repository)s, name, NULL, %(digest)s, %(by_kind)s, %(by)s, %(reason)s, made_at FROM tag
    ), told AS (
        INSERT INTO events_event (kind, project_id, repository_id, subject_kind, subject_id, payload, changed, origin)
        SELECT 'artifact.pushed', %(project)s, %(repository)s, %(by_kind)s, %(by)s,
               %(payload)s || jsonb_build_object('artifact', id), %(changed)s::text[], %(origin)s
        FROM artifact
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
    by: Subject,
    reason: str,
) -> int | None:
    """Store a plain manifest that is no accessory, under new tags; returns the artifact's id. None, with nothing done,
    if the manifest, the artifact or a tag exists, a blob or its link is missing, the repository is deleted, or the
    project's allowance must be redistributed."""
    kind, config_type, extra_attrs, icon = astuple(description) if description else ("", "", None, None)
    payload = {"digest": str(manifest.digest), "tags": list(tags), "reason": reason}
    values: dict[str, Any] = {
        "repository": repository.id,
        "project": repository.project.id,
        "digest": manifest.digest.raw,
        "content": manifest.content,
        "annotations": manifest.annotations,
        "kind": kind,
        "config_type": config_type,
        "extra_attrs": extra_attrs,
        "icon": icon,
        "media_type": manifest.media_type,
        "artifact_type": manifest.artifact_type,
        "size": manifest.size_bytes,
        "blobs": sorted({descriptor.digest.raw for descriptor in manifest.descriptors}),
        "tags": sorted(tags),
        "by_kind": int(by.kind),
        "by": by.id,
        "reason": reason,
        "payload": Jsonb(payload),
        "changed": [repository.key],
        "stripe": quota.own_stripe(),
        "bytes": len(manifest.content),
        "origin": machine_id(),
        **columns(manifest.descriptors),
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


def columns(descriptors: Sequence[Descriptor]) -> dict[str, list[Any]]:
    """The columns of `content_manifestdescriptor`, in the manifest's order."""
    return {
        "roles": [descriptor.role for descriptor in descriptors],
        "digests": [descriptor.digest.raw for descriptor in descriptors],
        "media_types": [descriptor.media_type for descriptor in descriptors],
        "sizes": [descriptor.size_bytes for descriptor in descriptors],
        "platforms": [None if d.platform is None else Jsonb(d.platform) for d in descriptors],
        "foreign": [descriptor.is_foreign for descriptor in descriptors],
    }
