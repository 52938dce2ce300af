"""Artifacts as lists show them: which ones are listed, and all that a page says of them, in a few statements.

- Which: `artifact_newest` walks a repository; an accessory is not listed, nor is a child of an index that has no tag of
  its own (`descriptor_child`, the tags' index on `artifact_id`).
- The rows of a page: the primary keys of artifacts and manifests.
- Everything around them in one statement of as many parts as were asked for: tags by `artifact_id`, labels by the key
  of their links, accessories by `artifact_accessories`, children by the key of descriptors and
  `artifact_digest_living`, the indexes that a child is in by `descriptor_child`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery

from registry_core.api.sql import api_time_of
from registry_core.caching.shared import Memory
from registry_core.content.models import Artifact, ManifestDescriptor, Tag
from registry_core.content.repositories import repository_key

LABELS_KEY: Final = "labels"
"""The generation of what labels are called and look like."""
_counts: Memory[tuple[int]] = Memory("artifact counts")


@dataclass(frozen=True, slots=True)
class With:
    """What a list is to say of each artifact besides its own columns."""

    tags: bool = True
    labels: bool = False
    accessories: bool = False
    inherited_accessories: bool = False


@dataclass(frozen=True, slots=True)
class ArtifactRow:
    """An artifact and its manifest's description, in the order of the statement's columns."""

    id: int
    repository_id: int
    project_id: int
    repository_name: str
    digest: bytes
    media_type: str
    artifact_type: str
    size_bytes: int
    pushed_at: str
    pulled_at: str | None
    kind: str
    config_type: str
    extra_attrs: bytes | None
    icon: bytes | None
    annotations: bytes | None


@dataclass(frozen=True, slots=True)
class Detail:
    """Something about an artifact; which columns mean what depends on the part: see the statements."""

    part: str
    artifact_id: int
    id: int | None
    name: str
    number: int
    digest: bytes | None
    other_id: int
    other_digest: bytes | None
    at: str | None
    other_at: str | None
    more: Any


Details = Mapping[tuple[str, int], list[Detail]]
"""By part and artifact."""


def listed_artifacts() -> QuerySet[Artifact]:
    """The living artifacts that lists show: no accessories, and of an index's children those with tags.

    Nearly all have tags, so that is asked first. Single values, not EXISTS: with that on both sides of an OR the
    count for 100 repositories took 600 ms beside 100,000 other artifacts, and so 11.
    """
    living = Artifact.objects.filter(deleted_at=None, accessory_of=None)
    tags = Tag.objects.filter(artifact=OuterRef("pk"), deleted_at=None)
    parents = ManifestDescriptor.objects.filter(
        digest=OuterRef("digest"),
        role=ManifestDescriptor.Role.MANIFEST,
        manifest__artifacts__repository=OuterRef("repository"),
        manifest__artifacts__deleted_at=None,
    )
    living = living.alias(a_tag=Subquery(tags.values("pk")[:1]), a_parent=Subquery(parents.values("manifest_id")[:1]))
    return living.filter(Q(a_tag__isnull=False) | Q(a_parent__isnull=True))


def artifact_counts(repository_ids: Iterable[int]) -> dict[int, int]:
    """How many artifacts lists show of each repository; remembered until the repository changes."""
    keys = {repository_id: repository_key(repository_id) for repository_id in repository_ids}
    return {i: count for i, (count,) in _counts.recall_each(keys, _counted, size_bytes=200).items()}


def _counted(repository_ids: list[int]) -> dict[int, tuple[int]]:
    rows = listed_artifacts().filter(repository_id__in=repository_ids).order_by().values_list("repository_id")
    return dict.fromkeys(repository_ids, (0,)) | {i: (count,) for i, count in rows.annotate(Count("pk"))}


def artifact_rows(artifact_ids: list[int]) -> list[ArtifactRow]:
    """The artifacts, in the order of their ids as given; those that are gone are left out."""
    with connection.cursor() as cursor:
        cursor.execute(_ROWS, [artifact_ids])
        rows = {row[0]: ArtifactRow(*row) for row in cursor.fetchall()}
    return [rows[artifact_id] for artifact_id in artifact_ids if artifact_id in rows]


def details_of(rows: list[ArtifactRow], wanted: With) -> Details:
    """What is around the artifacts, of what is wanted, and the children of those that are indexes."""
    artifact_ids = [row.id for row in rows]
    parts = {
        _TAGS: artifact_ids if wanted.tags else [],
        _LABELS: artifact_ids if wanted.labels else [],
        _ACCESSORIES: artifact_ids if wanted.accessories else [],
        _INHERITED: artifact_ids if wanted.inherited_accessories else [],
        _CHILDREN: [row.id for row in rows if not row.config_type],
    }
    asked = {statement: ids for statement, ids in parts.items() if ids}
    found: dict[tuple[str, int], list[Detail]] = defaultdict(list)
    if asked:
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(asked), list(asked.values()))
            for row in cursor.fetchall():
                found[row[0], row[1]].append(Detail(*row))
    return found


def accessory_details(artifact_id: int, accessory_ids: list[int]) -> list[Detail]:
    """Those of an artifact's accessories."""
    with connection.cursor() as cursor:
        cursor.execute(_CHOSEN_ACCESSORIES, [[artifact_id], accessory_ids])
        return [Detail(*row) for row in cursor.fetchall()]


_ROWS: Final = f"""
    SELECT artifact.id, artifact.repository_id, place.project_id, place.name, artifact.digest,
           artifact.media_type, artifact.artifact_type, artifact.size_bytes,
           {api_time_of("artifact.pushed_at")}, {api_time_of("artifact.pulled_at")},
           manifest.kind, manifest.config_type, manifest.extra_attrs, manifest.icon, manifest.annotations
    FROM content_artifact AS artifact
    JOIN content_manifest AS manifest ON manifest.id = artifact.manifest_id
    CROSS JOIN LATERAL (
        SELECT repository.project_id, project.name || '/' || repository.name AS name
        FROM content_repository AS repository JOIN content_project AS project ON project.id = repository.project_id
        WHERE repository.id = artifact.repository_id LIMIT 1  -- by its key for each, whatever Postgres expects
    ) AS place
    WHERE artifact.id = ANY(%s) AND artifact.deleted_at IS NULL
"""  # noqa: S608 the parts are constants
_TAGS: Final = f"""
    (SELECT 'tag', artifact_id, id, name, 0, NULL::bytea, repository_id, NULL::bytea,
            {api_time_of("pushed_at")}, {api_time_of("pulled_at")}, NULL::jsonb
     FROM content_tag WHERE artifact_id = ANY(%s) AND deleted_at IS NULL ORDER BY id DESC)
"""  # noqa: S608 the parts are constants
_LABELS: Final = f"""
    (SELECT 'label', link.artifact_id, label.id, label.name, 0, NULL, coalesce(label.project_id, 0), NULL,
            {api_time_of("label.created_at")}, {api_time_of("label.updated_at")},
            jsonb_build_array(label.description, label.color)
     FROM projects_artifactlabel AS link JOIN projects_label AS label ON label.id = link.label_id
     WHERE link.artifact_id = ANY(%s) ORDER BY label.name, label.id)
"""  # noqa: S608 the parts are constants
_ACCESSORIES: Final = f"""
    (SELECT 'accessory', subject.id, accessory.id, '', accessory.accessory_kind, accessory.digest, subject.id,
            subject.digest, {api_time_of("accessory.pushed_at")}, NULL, to_jsonb(accessory.size_bytes)
     FROM content_artifact AS subject JOIN content_artifact AS accessory
     ON accessory.repository_id = subject.repository_id AND accessory.accessory_of = subject.digest
        AND accessory.deleted_at IS NULL
     WHERE subject.id = ANY(%s) ORDER BY accessory.id)
"""  # noqa: S608 the parts are constants
_CHOSEN_ACCESSORIES: Final = _ACCESSORIES.replace("ORDER BY", "AND accessory.id = ANY(%s) ORDER BY")
_INHERITED: Final = f"""
    (SELECT 'inherited', child.id, accessory.id, '', accessory.accessory_kind, accessory.digest, parent.id,
            parent.digest, {api_time_of("accessory.pushed_at")}, NULL, to_jsonb(accessory.size_bytes)
     FROM content_artifact AS child
     JOIN content_manifestdescriptor AS entry ON entry.digest = child.digest AND entry.role = 3
     JOIN content_artifact AS parent ON parent.manifest_id = entry.manifest_id
          AND parent.repository_id = child.repository_id AND parent.deleted_at IS NULL
     JOIN content_artifact AS accessory ON accessory.repository_id = parent.repository_id
          AND accessory.accessory_of = parent.digest AND accessory.deleted_at IS NULL
     WHERE child.id = ANY(%s) AND accessory.accessory_kind IN (1, 2) ORDER BY accessory.id)
"""  # noqa: S608 the parts are constants
_CHILDREN: Final = """
    (SELECT 'child', parent.id, child.id, '', entry.ordinal, entry.digest, 0, NULL, NULL, NULL, entry.platform
     FROM content_artifact AS parent
     JOIN content_manifestdescriptor AS entry ON entry.manifest_id = parent.manifest_id AND entry.role = 3
     LEFT JOIN content_artifact AS child ON child.repository_id = parent.repository_id
          AND child.digest = entry.digest AND child.deleted_at IS NULL
     WHERE parent.id = ANY(%s) ORDER BY entry.ordinal)
"""
