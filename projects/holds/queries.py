"""Which artifacts are held, and what a hold covers: the artifact, its tags, and everything attached to it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from projects.models import Hold
from registry_core.content.repositories import RepositoryRef
from registry_core.database.statements import statements
from registry_core.digests import Digest

NAME: Final = "legal-hold"
"""The name of the policy, which a project has while one of its artifacts is held."""
# An accessory is about another artifact by its tag or by its subject, and that one may be an accessory itself.
_COVERED: Final = """
    WITH RECURSIVE above AS (
        SELECT id, digest, accessory_of, subject_digest FROM content_artifact
        WHERE repository_id = %s AND digest = ANY(%s) AND deleted_at IS NULL
        UNION
        SELECT subject.id, subject.digest, subject.accessory_of, subject.subject_digest
        FROM above JOIN content_artifact AS subject
          ON subject.repository_id = %s AND subject.deleted_at IS NULL
         AND subject.digest IN (above.accessory_of, above.subject_digest)
    )
    SELECT above.digest FROM projects_hold AS hold JOIN above ON above.id = hold.artifact_id LIMIT 1
"""
_HELD: Final = """
    SELECT artifact.digest FROM projects_hold AS hold
    JOIN content_artifact AS artifact ON artifact.id = hold.artifact_id WHERE hold.repository_id = %s
"""


def held_artifact_ids(repository: RepositoryRef) -> set[int]:
    """The artifacts of a repository that are held. Their children and accessories must stay with them."""
    return set(Hold.objects.filter(repository_id=repository.id).values_list("artifact_id", flat=True))


def first_held(repository: RepositoryRef, digests: Collection[Digest]) -> Digest | None:
    """One of these artifacts that is held itself, or None. Without the reason, which not everybody may know."""
    return _first(f"{_HELD} AND artifact.digest = ANY(%s) LIMIT 1", [repository.id, [each.raw for each in digests]])


def first_held_in(repository: RepositoryRef) -> Digest | None:
    """An artifact of a repository that is held, or None."""
    return _first(f"{_HELD} LIMIT 1", [repository.id])


def first_covering(repository: RepositoryRef, digests: Collection[Digest]) -> Digest | None:
    """A held artifact that is one of these, or that one of these is attached to; None if there is none."""
    return _first(_COVERED, [repository.id, [each.raw for each in digests], repository.id])


def _first(statement: str, values: list[object]) -> Digest | None:
    with statements() as cursor:
        cursor.execute(statement, values)
        row = cursor.fetchone()
    return None if row is None else Digest(bytes(row[0]))
