"""The inserts of a put, written once: the steps of `manifests` and the statement of `fresh_manifests` consist of them.

Each is part of a WITH and takes its rows from an earlier part; `put_values` has the values of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any, Final

from psycopg.types.json import Jsonb

from registry_core.content.descriptions import About, Description
from registry_core.content.parsing import Descriptor, ParsedManifest
from registry_core.content.repositories import RepositoryRef


def insert_manifest(source: str = "") -> str:
    """Store the manifest, once for each row of `source`."""
    return f"""
        INSERT INTO content_manifest (digest, content, annotations, kind, config_type, extra_attrs, icon)
        SELECT %(digest)s, %(content)s, %(annotations)s::bytea, %(kind)s, %(config_type)s, %(extra_attrs)s::bytea,
               %(icon)s::bytea {source}
    """


INSERT_DESCRIPTORS: Final = """
    INSERT INTO content_manifestdescriptor
    (manifest_id, ordinal, role, digest, media_type, size_bytes, platform, is_foreign)
    SELECT manifest.id, ordinal - 1, role, digest, media_type, size_bytes, platform, is_foreign
    FROM manifest, unnest(%(roles)s::smallint[], %(digests)s::bytea[], %(media_types)s::text[], %(sizes)s::bigint[],
                          %(platforms)s::jsonb[], %(foreign)s::boolean[])
         WITH ORDINALITY AS descriptor (role, digest, media_type, size_bytes, platform, is_foreign, ordinal)
"""
"""List what the `manifest` refers to, in its order."""


def insert_artifact(manifest_id: str, source: str = "") -> str:
    """Store the artifact, once for each row of `source`."""
    return f"""
        INSERT INTO content_artifact (repository_id, manifest_id, digest, media_type, artifact_type, subject_digest,
                                      accessory_of, accessory_kind, size_bytes, pull_count)
        SELECT %(repository)s, {manifest_id}, %(digest)s, %(media_type)s, %(artifact_type)s, %(subject)s::bytea,
               %(accessory_of)s::bytea, %(accessory_kind)s::smallint, %(size)s, 0 {source}
    """


def insert_uses(blob_id: str, source: str) -> str:
    """Note which blobs the `artifact` uses: `blob_id` of each row of `source`."""
    return f"""
        INSERT INTO content_artifactblob (repository_id, blob_id, artifact_id, is_trashed)
        SELECT %(repository)s, {blob_id}, artifact.id, false FROM artifact, {source}
    """  # noqa: S608 constants


def put_values(
    *, repository: RepositoryRef, manifest: ParsedManifest, description: Description | None, about: About | None = None
) -> dict[str, Any]:
    """The values of the statements above. `about`: what the artifact is an accessory of."""
    kind, config_type, extra_attrs, icon = astuple(description) if description else ("", "", None, None)
    return {
        "repository": repository.id,
        "digest": manifest.digest.raw,
        "content": manifest.content,
        "annotations": manifest.annotations,
        "kind": kind,
        "config_type": config_type,
        "extra_attrs": extra_attrs,
        "icon": icon,
        "media_type": manifest.media_type,
        "artifact_type": manifest.artifact_type,
        "subject": manifest.subject.raw if manifest.subject else None,
        "accessory_of": about.subject.raw if about else None,
        "accessory_kind": about.kind if about else None,
        "size": manifest.size_bytes,
        **_columns(manifest.descriptors),
    }


def _columns(descriptors: Sequence[Descriptor]) -> dict[str, list[Any]]:
    """The columns of `content_manifestdescriptor`, in the manifest's order."""
    return {
        "roles": [descriptor.role for descriptor in descriptors],
        "digests": [descriptor.digest.raw for descriptor in descriptors],
        "media_types": [descriptor.media_type for descriptor in descriptors],
        "sizes": [descriptor.size_bytes for descriptor in descriptors],
        "platforms": [None if d.platform is None else Jsonb(d.platform) for d in descriptors],
        "foreign": [descriptor.is_foreign for descriptor in descriptors],
    }
