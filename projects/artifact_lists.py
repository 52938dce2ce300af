"""Artifacts as lists show them: which ones are listed, and everything that a page shows of them, in a few statements.

- Which: `artifact_newest` walks a repository. An accessory is not listed, nor is a child of an index that has no tag of
  its own (`descriptor_child`, the tags' index on `artifact_id`).
- The rows of a page come by the primary keys of artifacts and manifests. Annotations and attributes are limited to what
  one answer can carry, smallest first.
- Related rows come from one statement with one part per requested detail: tags by `artifact_id`, labels by the key of
  their links, accessories by `artifact_accessories`, children by the key of descriptors and `artifact_digest_living`,
  the indexes that contain a child by `descriptor_child`. Each part is limited to what one answer can carry, taken
  round-robin from the artifacts, so that one artifact with too many does not displace those of the others.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery

from registry_core.api.sql import api_time_of
from registry_core.caching.cache import Cache
from registry_core.content.models import Artifact, ManifestDescriptor, Tag
from registry_core.content.repositories import repository_key

LABELS_KEY: Final = "labels"
"""The generation of the names and colours of labels."""
TEXTS_MAX_BYTES: Final = 16 << 20
"""The most bytes of annotations and attributes on a page. One manifest can have 4 MiB of them."""
DETAILS_MAX: Final = 10_000
"""The most tags on a page, and the most labels, accessories and children: more than one index can have children. What
one artifact can have of each is unlimited."""
_LOOKED_AT_MAX: Final = 10 * DETAILS_MAX
"""How many rows of a part are read for a page, divided equally among its artifacts."""
PLATFORM_MAX_BYTES: Final = 1 << 10
"""The longest platform of a child that is shown: a few names."""
_count_cache: Cache[int] = Cache("artifact counts", share=1 / 32)


@dataclass(frozen=True, slots=True)
class With:
    """The details to include for each artifact besides its own columns."""

    tags: bool = True
    labels: bool = False
    accessories: bool = False
    inherited_accessories: bool = False


@dataclass(frozen=True, slots=True)
class ArtifactRow:
    """An artifact and its manifest's description, in the order of the statement's columns.

    `is_whole`: attributes and annotations are included, if it has any.
    """

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
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Detail:
    """A detail of an artifact; the meaning of the columns depends on the part, see the statements."""

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


@dataclass(frozen=True, slots=True)
class Details:
    """The details of artifacts, by part and artifact. `cut`: the parts that are incomplete."""

    by_part: Mapping[tuple[str, int], list[Detail]]
    cut: frozenset[str]

    def of(self, part: str, artifact_id: int) -> list[Detail]:
        """The details of one part that an artifact has."""
        return self.by_part.get((part, artifact_id), [])


def listed_artifacts() -> QuerySet[Artifact]:
    """The living artifacts that lists show: no accessories, and children of an index only if they have a tag.

    The tag condition comes first, since nearly all artifacts have tags. The conditions are scalar subqueries and not
    EXISTS: with EXISTS on both sides of an OR, Postgres scans instead of probing.
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
    """The number of listed artifacts of each repository; cached until the repository changes."""
    return _count_cache.read_each(
        list(repository_ids), _counted, depends_on=lambda repository_id: [repository_key(repository_id)], size_bytes=200
    )


def _counted(repository_ids: list[int]) -> dict[int, int]:
    rows = listed_artifacts().filter(repository_id__in=repository_ids).order_by().values_list("repository_id")
    return dict.fromkeys(repository_ids, 0) | dict(rows.annotate(Count("pk")))


def artifact_rows(artifact_ids: list[int]) -> list[ArtifactRow]:
    """The artifacts, in the order of the given ids; deleted ones are left out."""
    with connection.cursor() as cursor:
        cursor.execute(_ROWS, [artifact_ids])
        rows = {row[0]: ArtifactRow(*row) for row in cursor.fetchall()}
    return [rows[artifact_id] for artifact_id in artifact_ids if artifact_id in rows]


def details_of(rows: list[ArtifactRow], wanted: With) -> Details:
    """The requested details of the artifacts, and the children of those that are indexes."""
    artifact_ids = [row.id for row in rows]
    parts = {
        _TAGS: artifact_ids if wanted.tags else [],
        _LABELS: artifact_ids if wanted.labels else [],
        _ACCESSORIES: artifact_ids if wanted.accessories else [],
        _INHERITED: artifact_ids if wanted.inherited_accessories else [],
        _CHILDREN: [row.id for row in rows if not row.config_type],
    }
    asked = {statement: ids for statement, ids in parts.items() if ids}
    if not asked:
        return Details({}, frozenset())
    each = min(DETAILS_MAX, _LOOKED_AT_MAX // len(rows))
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(asked), [value for ids in asked.values() for value in (ids, each + 1)])
        return _bounded([Detail(*row) for row in cursor.fetchall()], each)


def _bounded(details: list[Detail], each: int) -> Details:
    """The details without the surplus row that only shows that there are more: one per artifact, one in all."""
    by_part: dict[tuple[str, int], list[Detail]] = defaultdict(list)
    counts: Counter[str] = Counter()
    cut = set()
    for detail in details:
        counts[detail.part] += 1
        held = by_part[detail.part, detail.artifact_id]
        if counts[detail.part] <= DETAILS_MAX and len(held) < each:
            held.append(detail)
        else:
            cut.add(detail.part)
    return Details(by_part, frozenset(cut))


def accessory_details(artifact_id: int, accessory_ids: list[int]) -> list[Detail]:
    """Details of selected accessories of an artifact."""
    with connection.cursor() as cursor:
        cursor.execute(_CHOSEN_ACCESSORIES, [artifact_id, accessory_ids])
        return [Detail(*row) for row in cursor.fetchall()]


_ROWS: Final = f"""
    SELECT listed.id, listed.repository_id, place.project_id, place.name, listed.digest,
           listed.media_type, listed.artifact_type, listed.size_bytes,
           {api_time_of("listed.pushed_at")}, {api_time_of("listed.pulled_at")},
           listed.kind, listed.config_type, CASE WHEN is_whole THEN listed.extra_attrs END, listed.icon,
           CASE WHEN is_whole THEN listed.annotations END, is_whole
    FROM (
        SELECT sized.*, row_number() OVER smallest = 1 OR sum(bytes) OVER smallest <= {TEXTS_MAX_BYTES} AS is_whole
        FROM (
            SELECT artifact.*, manifest.kind, manifest.config_type, manifest.extra_attrs, manifest.icon,
                   manifest.annotations,
                   coalesce(octet_length(manifest.extra_attrs), 0) + coalesce(octet_length(manifest.annotations), 0)
                   AS bytes
            FROM content_artifact AS artifact JOIN content_manifest AS manifest ON manifest.id = artifact.manifest_id
            WHERE artifact.id = ANY(%s) AND artifact.deleted_at IS NULL
        ) AS sized WINDOW smallest AS (ORDER BY bytes, id)
    ) AS listed
    CROSS JOIN LATERAL (
        SELECT repository.project_id, project.name || '/' || repository.name AS name
        FROM content_repository AS repository JOIN content_project AS project ON project.id = repository.project_id
        WHERE repository.id = listed.repository_id LIMIT 1  -- by its key for each, whatever Postgres expects
    ) AS place
"""  # noqa: S608 the parts are constants


def _part(columns: str, rows: str, *, order: str, beside: str = "") -> str:
    """A statement for one part: for each artifact of a list, the rows of `rows` for `listed.id`, in `order`. `beside`:
    what is joined to the rows that are shown."""
    return f"""
    (SELECT {columns} FROM (
        SELECT listed.id AS artifact, found.* FROM unnest(%s::bigint[]) AS listed(id) CROSS JOIN LATERAL (
            SELECT *, row_number() OVER (ORDER BY {order}) AS place FROM ({rows}) AS had
            ORDER BY {order} LIMIT %s
        ) AS found ORDER BY found.place LIMIT {DETAILS_MAX + 1}
     ) AS part {beside} ORDER BY part.place)
"""  # noqa: S608 the parts are constants


_TAGS: Final = _part(
    f"""'tag', part.artifact, part.id, part.name, 0, NULL::bytea, part.repository_id, NULL::bytea,
        {api_time_of("part.pushed_at")}, {api_time_of("part.pulled_at")}, NULL::jsonb""",
    "SELECT * FROM content_tag WHERE artifact_id = listed.id AND deleted_at IS NULL",
    order="id DESC",
)
_LABELS: Final = _part(
    f"""'label', part.artifact, part.id, part.name, 0, NULL, coalesce(part.project_id, 0), NULL,
        {api_time_of("part.created_at")}, {api_time_of("part.updated_at")},
        jsonb_build_array(part.description, part.color)""",
    """SELECT label.* FROM projects_artifactlabel AS link JOIN projects_label AS label ON label.id = link.label_id
        WHERE link.artifact_id = listed.id""",
    order="name, id",
)
_ACCESSORY: Final = """
    SELECT accessory.id, accessory.accessory_kind, accessory.digest, subject.id AS subject_id,
           subject.digest AS subject_digest, accessory.pushed_at, accessory.size_bytes
    FROM content_artifact AS subject JOIN content_artifact AS accessory
    ON accessory.repository_id = subject.repository_id AND accessory.accessory_of = subject.digest
       AND accessory.deleted_at IS NULL
"""
_ACCESSORY_COLUMNS: Final = f"""
    part.id, '', part.accessory_kind, part.digest, part.subject_id, part.subject_digest,
    {api_time_of("part.pushed_at")}, NULL, to_jsonb(part.size_bytes)"""
_ACCESSORIES: Final = _part(
    f"'accessory', part.artifact, {_ACCESSORY_COLUMNS}", f"{_ACCESSORY} WHERE subject.id = listed.id", order="id"
)
_CHOSEN_ACCESSORIES: Final = f"""
    SELECT 'accessory', part.subject_id, {_ACCESSORY_COLUMNS}
    FROM ({_ACCESSORY} WHERE subject.id = %s AND accessory.id = ANY(%s)) AS part ORDER BY part.id
"""  # noqa: S608 the parts are constants
_SIGNATURES: Final = f"{Artifact.Accessory.COSIGN:d}, {Artifact.Accessory.NOTATION:d}"
"""The accessories of an index that also hold for its children: a signature covers them."""
_INHERITED: Final = _part(
    f"'inherited', part.artifact, {_ACCESSORY_COLUMNS}",
    f"""SELECT accessory.id, accessory.accessory_kind, accessory.digest, parent.id AS subject_id,
              parent.digest AS subject_digest, accessory.pushed_at, accessory.size_bytes
       FROM content_artifact AS child
       JOIN content_manifestdescriptor AS entry
            ON entry.digest = child.digest AND entry.role = {ManifestDescriptor.Role.MANIFEST:d}
       JOIN content_artifact AS parent ON parent.manifest_id = entry.manifest_id
            AND parent.repository_id = child.repository_id AND parent.deleted_at IS NULL
       JOIN content_artifact AS accessory ON accessory.repository_id = parent.repository_id
            AND accessory.accessory_of = parent.digest AND accessory.deleted_at IS NULL
       WHERE child.id = listed.id AND accessory.accessory_kind IN ({_SIGNATURES})""",  # noqa: S608 constants
    order="id",
)
_CHILDREN: Final = _part(
    f"""'child', part.artifact, child.id, '', part.ordinal, part.digest, 0, NULL, NULL, NULL,
        CASE WHEN octet_length(part.platform::text) <= {PLATFORM_MAX_BYTES} THEN part.platform END""",
    f"""SELECT parent.repository_id, entry.ordinal, entry.digest, entry.platform
       FROM content_artifact AS parent
       JOIN content_manifestdescriptor AS entry
            ON entry.manifest_id = parent.manifest_id AND entry.role = {ManifestDescriptor.Role.MANIFEST:d}
       WHERE parent.id = listed.id""",  # noqa: S608 a constant
    order="ordinal",
    beside="""LEFT JOIN content_artifact AS child ON child.repository_id = part.repository_id
              AND child.digest = part.digest AND child.deleted_at IS NULL""",
)
