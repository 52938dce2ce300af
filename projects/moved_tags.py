"""Which tags would be moved by what is about to be stored or restored."""

from __future__ import annotations

from collections.abc import Mapping

from registry_core.content.repositories import RepositoryRef
from registry_core.database.statements import statements
from registry_core.digests import Digest


def moved_tags(repository: RepositoryRef, wanted: Mapping[str, Digest]) -> dict[str, Digest]:
    """Those of the wanted tags that exist and point at something else, with what they point at."""
    if not wanted:
        return {}
    with statements() as cursor:
        cursor.execute(
            """
            SELECT tag.name, artifact.digest FROM content_tag AS tag
            JOIN content_artifact AS artifact ON artifact.id = tag.artifact_id
            WHERE tag.repository_id = %s AND tag.name = ANY(%s) AND tag.deleted_at IS NULL
            """,
            [repository.id, list(wanted)],
        )
        found = {name: Digest(bytes(raw)) for name, raw in cursor.fetchall()}
    return {name: digest for name, digest in found.items() if digest != wanted[name]}
