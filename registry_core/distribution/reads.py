"""Reads of the data path: asynchronous SQL, each statement one index probe or one page, behind the caches."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg_pool import AsyncConnectionPool

from registry_core.content.blobs import BlobRef
from registry_core.content.descriptions import COSIGN_SUFFIXES
from registry_core.content.errors import BlobUnknown
from registry_core.content.models import Blob, ManifestDescriptor
from registry_core.content.repositories import PROJECT_COLUMNS, ProjectRef, RepositoryRef, project_of
from registry_core.digests import Digest
from registry_core.distribution.joined_reads import JoinedReads
from registry_core.machine.state import generations
from registry_core.names import RepositoryName

R = TypeVar("R", bytes, str)
Values = Sequence[object] | Mapping[str, object]
BLOBS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Located:
    """The current meaning of a repository's name: its project (None: nonexistent), and its repository (None: nothing
    was pushed to it)."""

    project: ProjectRef | None
    repository: RepositoryRef | None
    created_at: dt.datetime | None


@functools.cache
def locate_statement(count: int) -> str:
    """A statement for `located_in`, for the projects and paths of `count` names (two arrays): two index probes per
    name."""
    return f"""
        SELECT wanted.project, wanted.path, repository.id, repository.created_at, project.*
        FROM ({asked_for("project text, path text", count)}) AS wanted
        CROSS JOIN LATERAL (
            SELECT {PROJECT_COLUMNS} FROM content_project AS project
            WHERE project.name = wanted.project AND project.deleted_at IS NULL LIMIT 1
        ) AS project
        LEFT JOIN LATERAL (
            SELECT id, created_at FROM content_repository
            WHERE project_id = project.id AND name = wanted.path AND deleted_at IS NULL LIMIT 1
        ) AS repository ON true
    """  # noqa: S608 constants


def asked_for(columns: str, count: int) -> str:
    """Rows from an array of `count` values for each of the columns (`name type, name type`); for one row, from plain
    values.

    Postgres estimates ten rows for an unknown array, and for fewer would plan the statement again each time; hence a
    limit, in steps so that there are few statements to prepare.
    """
    if count == 1:
        return "SELECT " + ", ".join("%s::{1} AS {0}".format(*column.split()) for column in columns.split(", "))
    names, types = zip(*(column.split() for column in columns.split(", ")), strict=True)
    arrays = ", ".join(f"%s::{type_name}[]" for type_name in types)
    return f"SELECT * FROM unnest({arrays}) AS given ({', '.join(names)}) LIMIT {1 << (count - 1).bit_length()}"  # noqa: S608


def columns_of(rows: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """The parameters of `asked_for` for the rows."""
    return rows[0] if len(rows) == 1 else [list(column) for column in zip(*rows, strict=True)]


def located_in(row: Sequence[Any]) -> tuple[RepositoryName, Located]:
    """A name and its meaning, from a row of `locate_statement`; names in nonexistent projects have no row."""
    project_name, path, repository_id, created_at, *of_project = row
    name = RepositoryName(project_name, path)
    project = project_of(of_project)
    repository = None if repository_id is None else RepositoryRef(repository_id, name, project)
    return name, Located(project, repository, created_at)


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest of a repository, ready to be served. `size_bytes`: including everything that it refers to."""

    artifact_id: int
    digest: Digest
    media_type: str
    artifact_type: str
    size_bytes: int
    content: bytes


@dataclass(frozen=True, slots=True)
class UsedBlob:
    """A blob that a manifest refers to, and where its bytes should be."""

    digest: Digest
    size_bytes: int
    store: str
    key: str
    is_live: bool


@dataclass(frozen=True, slots=True)
class Referrer:
    """A referrer of the requested artifact."""

    digest: Digest
    media_type: str
    size_bytes: int
    artifact_type: str
    annotations: bytes | None


@dataclass(frozen=True, slots=True)
class ReferrersPage:
    """A page of referrers by subject field, and with the first page other artifacts that refer to the subject.

    `tagged`: the artifacts under the tags of cosign's scheme (`sha256-<hex>.sig` and the like). `fallback`: the index
    under the tag `sha256-<hex>`, which clients maintain for registries without a referrers API; None if there is none.
    """

    by_subject: list[Referrer]
    tagged: list[Referrer]
    fallback: bytes | None
    has_more: bool


REFERRERS_MAX = 4000
REFERRERS_MAX_BYTES = 4 << 20
"""The most referrers on a page, and its most bytes: a page is an index, as large as clients accept one. Some clients do
not request a second page."""
_REFERRER, _TAGGED, _FALLBACK = 1, 2, 3
_REFERRERS = f"""
    SELECT {_REFERRER}, page.found, page.digest, page.media_type, page.size_bytes, page.artifact_type, page.annotations
    FROM (
        SELECT *, count(*) OVER () AS found,
               sum(300 + coalesce(octet_length(annotations), 0)) OVER (ORDER BY digest) AS bytes_so_far,
               row_number() OVER (ORDER BY digest) AS place
        FROM (
            SELECT artifact.digest, artifact.media_type, octet_length(manifest.content) AS size_bytes,
                   artifact.artifact_type, manifest.annotations
            FROM content_artifact AS artifact JOIN content_manifest AS manifest ON manifest.id = artifact.manifest_id
            WHERE artifact.repository_id = %(repository)s AND artifact.subject_digest = %(subject)s
              AND artifact.deleted_at IS NULL AND artifact.digest > %(last)s
              AND (%(types)s::text[] IS NULL OR artifact.artifact_type = ANY(%(types)s))
            ORDER BY artifact.digest LIMIT %(most)s + 1
        ) AS referrer
    ) AS page
    WHERE page.place = 1 OR (page.place <= %(most)s AND page.bytes_so_far <= %(most_bytes)s)
    UNION ALL
    SELECT {_TAGGED}, 0, artifact.digest, artifact.media_type, octet_length(manifest.content), artifact.artifact_type,
           manifest.annotations
    FROM content_tag AS tag JOIN content_artifact AS artifact ON artifact.id = tag.artifact_id
    JOIN content_manifest AS manifest ON manifest.id = artifact.manifest_id
    WHERE %(is_first)s AND tag.repository_id = %(repository)s AND tag.name = ANY(%(by_tag)s) AND tag.deleted_at IS NULL
      AND artifact.subject_digest IS DISTINCT FROM %(subject)s AND artifact.digest <> %(subject)s
      AND (%(types)s::text[] IS NULL OR artifact.artifact_type = ANY(%(types)s))
    UNION ALL
    SELECT {_FALLBACK}, 0, NULL, artifact.media_type, 0, '', manifest.content
    FROM content_tag AS tag JOIN content_artifact AS artifact ON artifact.id = tag.artifact_id
    JOIN content_manifest AS manifest ON manifest.id = artifact.manifest_id
    WHERE %(is_first)s AND tag.repository_id = %(repository)s AND tag.name = %(fallback)s AND tag.deleted_at IS NULL
"""  # noqa: S608 the parts are constants


class Reads:
    """The statements, on one pool."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool
        self._by_tag = JoinedReads(self._manifests_by_tag)
        self._by_digest = JoinedReads(self._manifests_by_digest)

    async def _rows(self, statement: str, values: Values) -> list[Any]:
        try:
            return await self._rows_once(statement, values)
        except psycopg.OperationalError:
            if generations().unreachable_for_s():
                raise
            # The pool may have handed out a connection to a server that has restarted since, and may have more of
            # those.
            await self._pool.check()
            return await self._rows_once(statement, values)

    async def _rows_once(self, statement: str, values: Values) -> list[Any]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(statement, values)
            rows: list[Any] = await cursor.fetchall()
            return rows

    async def locate_all(self, names: Collection[RepositoryName]) -> dict[RepositoryName, Located]:
        """The meaning of each name, by one statement."""
        rows = await self._rows(locate_statement(len(names)), columns_of([(name.project, name.path) for name in names]))
        return dict.fromkeys(names, Located(None, None, None)) | dict(map(located_in, rows))

    async def projects(self, names: Collection[str]) -> dict[str, ProjectRef | None]:
        """The living project of each name; None if there is none."""
        rows = await self._rows(
            f"""
            SELECT {PROJECT_COLUMNS} FROM content_project AS project
            WHERE project.name = ANY(%s) AND project.deleted_at IS NULL
            """,  # noqa: S608 a constant
            [list(names)],
        )
        return dict.fromkeys(names) | {row[1]: project_of(row) for row in rows}

    async def manifest(self, repository_id: int, reference: str | Digest) -> StoredManifest | None:
        """The manifest with a digest, or the one that a tag points at."""
        if isinstance(reference, Digest):
            return await self._by_digest.get((repository_id, reference.raw))
        return await self._by_tag.get((repository_id, reference))

    async def _manifests_by_digest(self, keys: list[tuple[int, bytes]]) -> dict[tuple[int, bytes], StoredManifest]:
        living = "repository_id = wanted.repository_id AND digest = wanted.reference"
        return await self._manifests(keys, "bytea", "", living)

    async def _manifests_by_tag(self, keys: list[tuple[int, str]]) -> dict[tuple[int, str], StoredManifest]:
        tag = """
            CROSS JOIN LATERAL (
                SELECT artifact_id FROM content_tag
                WHERE repository_id = wanted.repository_id AND name = wanted.reference AND deleted_at IS NULL LIMIT 1
            ) AS tag
        """
        return await self._manifests(keys, "text", tag, "id = tag.artifact_id")

    async def _manifests(
        self, keys: list[tuple[int, R]], type_name: str, joined: str, condition: str
    ) -> dict[tuple[int, R], StoredManifest]:
        """The manifests of the living artifacts that meet the condition. The LATERALs with limits make Postgres read
        each table by its key for each row, whatever it estimates."""
        rows = await self._rows(
            f"""
            SELECT wanted.repository_id, wanted.reference, artifact.id, artifact.digest, artifact.media_type,
                   artifact.artifact_type, artifact.size_bytes, manifest.content
            FROM ({asked_for(f"repository_id bigint, reference {type_name}", len(keys))}) AS wanted {joined}
            CROSS JOIN LATERAL (
                SELECT id, digest, media_type, artifact_type, size_bytes, manifest_id FROM content_artifact
                WHERE {condition} AND deleted_at IS NULL LIMIT 1
            ) AS artifact
            CROSS JOIN LATERAL (
                SELECT content FROM content_manifest WHERE id = artifact.manifest_id LIMIT 1
            ) AS manifest
            """,  # noqa: S608 the parts are constants
            columns_of(keys),
        )
        return {(row[0], row[1]): StoredManifest(row[2], Digest(row[3]), *row[4:]) for row in rows}

    async def blob(self, repository_id: int, digest: Digest) -> tuple[BlobRef, bool] | None:
        """The blob that the repository may read, and whether its link's grace period is about to end; None if it has no
        link. Raises BlobUnknown for a quarantined blob."""
        rows = await self._rows(
            """
            SELECT blob.id, blob.size_bytes, blob.store, blob.storage_key, blob.state,
                   link.grace_until < now() + interval '30 minutes' AND NOT EXISTS (
                       SELECT 1 FROM content_artifactblob AS used
                       WHERE used.repository_id = link.repository_id AND used.blob_id = blob.id AND NOT used.is_trashed)
            FROM content_blob AS blob JOIN content_repositoryblob AS link ON link.blob_id = blob.id
            WHERE link.repository_id = %s AND blob.digest = %s
            """,
            [repository_id, digest.raw],
        )
        if not rows:
            return None
        blob_id, size_bytes, store, storage_key, state, is_aging = rows[0]
        if state != Blob.State.LIVE:
            raise BlobUnknown(
                f"the registry's copy of {digest} is damaged and was taken out of service: push it again to heal it",
                {"digest": str(digest)},
            )
        return BlobRef(blob_id, digest, size_bytes, store, storage_key), is_aging

    async def blobs_of(self, repository_id: int, artifact_id: int) -> list[UsedBlob]:
        """The blobs of an artifact and, for an index, of the artifacts in it, level by level: those that are not live
        first, at most BLOBS_MAX."""
        rows = await self._rows(
            f"""
            WITH RECURSIVE whole AS (
                SELECT id, manifest_id FROM content_artifact WHERE id = %s
                UNION
                SELECT child.id, child.manifest_id FROM whole
                JOIN content_manifestdescriptor AS entry
                  ON entry.manifest_id = whole.manifest_id AND entry.role = {ManifestDescriptor.Role.MANIFEST:d}
                JOIN content_artifact AS child
                  ON child.repository_id = %s AND child.digest = entry.digest AND child.deleted_at IS NULL
            )
            SELECT DISTINCT blob.digest, blob.size_bytes, blob.store, blob.storage_key, blob.state FROM whole
            JOIN content_artifactblob AS used ON used.artifact_id = whole.id
            JOIN content_blob AS blob ON blob.id = used.blob_id
            ORDER BY blob.state DESC LIMIT %s
            """,  # noqa: S608 a constant
            [artifact_id, repository_id, BLOBS_MAX],
        )
        return [
            UsedBlob(Digest(digest), size_bytes, store, key, state == Blob.State.LIVE)
            for digest, size_bytes, store, key, state in rows
        ]

    async def extend_grace(self, repository_id: int, blob_id: int) -> bool:
        """Extend the grace period of an unused link: a client that is told that the blob exists is about to use it.
        False if the link was removed meanwhile, and so must not be told of."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                """
                UPDATE content_repositoryblob SET grace_until = now() + interval '1 hour'
                WHERE repository_id = %s AND blob_id = %s
                """,
                [repository_id, blob_id],
            )
            return bool(cursor.rowcount)

    async def tags(self, repository_id: int, *, last: str, limit: int) -> list[str]:
        """A page of tag names in byte order."""
        rows = await self._rows(
            """
            SELECT name FROM content_tag
            WHERE repository_id = %s AND deleted_at IS NULL AND name > %s ORDER BY name LIMIT %s
            """,
            [repository_id, last, limit],
        )
        return [row[0] for row in rows]

    async def catalog(self, projects: list[int] | None, *, last: str, limit: int) -> list[str]:
        """A page of full repository names in byte order, of the given projects (None: of all)."""
        project, _, path = last.partition("/")
        after = f"{project}/" if project else ""
        # Project by project, each by its index; sorting all repositories by their full names would read all of them.
        rows = await self._rows(
            """
            SELECT project.key || repository.name FROM (
                SELECT id, (name || '/') COLLATE "C" AS key FROM content_project
                WHERE deleted_at IS NULL AND (name || '/') COLLATE "C" >= %s AND (%s::bigint[] IS NULL OR id = ANY(%s))
                ORDER BY key
            ) AS project
            CROSS JOIN LATERAL (
                SELECT name FROM content_repository
                WHERE project_id = project.id AND deleted_at IS NULL
                  AND name > CASE WHEN project.key = %s THEN %s ELSE '' END
                ORDER BY name LIMIT %s
            ) AS repository
            ORDER BY project.key, repository.name LIMIT %s
            """,
            [after, projects, projects, after, path, limit, limit],
        )
        return [row[0] for row in rows]

    async def referrers(
        self, repository_id: int, subject: Digest, *, artifact_types: Sequence[str], last: bytes
    ) -> ReferrersPage:
        """A page of the referrers of `subject`, in digest order: of these types, or of all if none is given."""
        name = f"{subject.algorithm}-{subject.raw[1:].hex()}"
        values = {
            "repository": repository_id,
            "subject": subject.raw,
            "types": list(artifact_types) or None,
            "last": last,
            "most": REFERRERS_MAX,
            "most_bytes": REFERRERS_MAX_BYTES,
            "is_first": not last,
            "fallback": name[:128],
            "by_tag": [f"{name}.{suffix}" for suffix in COSIGN_SUFFIXES],
        }
        rows = await self._rows(_REFERRERS, values)
        page = [Referrer(Digest(row[2]), *row[3:]) for row in rows if row[0] == _REFERRER]
        tagged = {row[2]: Referrer(Digest(row[2]), *row[3:]) for row in rows if row[0] == _TAGGED}
        fallback = next((row[6] for row in rows if row[0] == _FALLBACK), None)
        found = max((row[1] for row in rows if row[0] == _REFERRER), default=0)
        return ReferrersPage(page, list(tagged.values()), fallback, has_more=found > len(page))

    async def listed_referrers(self, repository_id: int, subject: Digest, digests: list[Digest]) -> set[Digest]:
        """Those of the digests that are referrers of `subject`, on any page."""
        rows = await self._rows(
            """
            SELECT digest FROM content_artifact
            WHERE repository_id = %s AND subject_digest = %s AND digest = ANY(%s) AND deleted_at IS NULL
            """,
            [repository_id, subject.raw, [digest.raw for digest in digests]],
        )
        return {Digest(row[0]) for row in rows}
