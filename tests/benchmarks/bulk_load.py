"""The COPY loader: writes the rows that pushing a data set would have left, thousands of artifacts a second.

A project is one transaction. What the loader writes is what the operations write, events and their numbers included
(`test_scale.py` compares); the bytes of blobs alone are nowhere.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from projects.events import ProjectCreated
from registry_core.access import SYSTEM
from registry_core.content.descriptions import accessory, describe, has_telling_config
from registry_core.content.events import ArtifactPushed
from registry_core.content.models import UNLIMITED, Blob
from registry_core.content.parsing import Descriptor
from registry_core.content.quota import STRIPES
from registry_core.content.repositories import CATALOG_KEY, name_key, repository_key
from registry_core.events.kinds import Payload, kind_of
from registry_core.events.outbox import as_json
from registry_core.storage.filesystem import FilesystemStore
from tests.benchmarks.bulk_content import BulkContent, LoadedArtifact, LoadedBlob

# In an order in which every row finds what it refers to. What is left out has a default: times, above all.
_COLUMNS: dict[str, tuple[str, ...]] = {
    "content_project": ("id", "name", "is_public", "allows_sparse_manifests", "storage_limit_bytes"),
    "content_repository": ("id", "project_id", "name"),
    "content_blob": ("id", "digest", "size_bytes", "store", "storage_key", "state"),
    "content_repositoryblob": ("repository_id", "blob_id", "grace_until"),
    "content_projectblob": ("project_id", "blob_id", "links"),
    "content_quotastripe": ("project_id", "stripe", "used_bytes", "allowance_bytes"),
    "content_manifest": ("id", "digest", "content", "annotations", "kind", "config_type", "extra_attrs", "icon"),
    "content_projectmanifest": ("project_id", "manifest_id", "artifacts"),
    "content_quotaentry": ("project_id", "blob_id", "manifest_id", "delta_bytes", "reason"),
    "content_manifestdescriptor": (
        "manifest_id", "ordinal", "role", "digest", "media_type", "size_bytes", "platform", "is_foreign",
    ),
    "content_artifact": (
        "id", "repository_id", "manifest_id", "digest", "media_type", "artifact_type", "subject_digest",
        "accessory_of", "accessory_kind", "size_bytes", "pull_count",
    ),
    "content_artifactblob": ("repository_id", "blob_id", "artifact_id", "is_trashed"),
    "content_tag": ("repository_id", "artifact_id", "name"),
    "content_taghistory": (
        "repository_id", "tag", "old_digest", "new_digest", "subject_kind", "subject_id", "reason",
    ),
    "events_event": (
        "seq", "kind", "project_id", "repository_id", "subject_kind", "subject_id", "payload", "changed", "origin",
    ),
}  # fmt: skip
TABLES = tuple(_COLUMNS)
_BY = (int(SYSTEM.kind), SYSTEM.id)
_IDS_AT_ONCE = 20_000
_ALLOWANCE_BYTES = 1 << 60  # what a stripe gets at once in a project without a limit
_GRACE = dt.timedelta(hours=1)


class Ids:
    """Ids of one table, taken from its sequence in blocks, so that whoever writes meanwhile gets others."""

    def __init__(self, connection: psycopg.Connection[Any], table: str) -> None:
        self._connection = connection
        self._table = table
        self._free = iter(range(0))

    def next(self) -> int:
        """One more id."""
        try:
            return next(self._free)
        except StopIteration:
            self._free = iter(self._block())
            return next(self._free)

    def _block(self) -> range:
        cursor = self._connection.execute(
            "SELECT setval(name, nextval(name) + %s) FROM pg_get_serial_sequence(%s, 'id') AS name",
            [_IDS_AT_ONCE - 1, self._table],
        )
        last: int = (cursor.fetchone() or (0,))[0]
        return range(last - _IDS_AT_ONCE + 1, last + 1)


@dataclass
class _Project:
    """A project that is being loaded: its rows by table, and what it pays for."""

    id: int
    rows: dict[str, list[Sequence[Any]]] = field(default_factory=lambda: {table: [] for table in TABLES})
    links: Counter[int] = field(default_factory=Counter)
    artifacts: Counter[int] = field(default_factory=Counter)
    """By manifest."""
    used_bytes: int = 0
    first_bytes: int = 0

    def add(self, table: str, *values: Any) -> None:
        self.rows[table].append(values)

    def pay(self, size_bytes: int, *, blob_id: int | None = None, manifest_id: int | None = None) -> None:
        self.add("content_quotaentry", self.id, blob_id, manifest_id, size_bytes, "push")
        self.first_bytes = self.first_bytes or size_bytes
        self.used_bytes += size_bytes


class BulkLoader:
    """Loads data sets into a migrated database."""

    def __init__(self, connection: psycopg.Connection[Any], content: BulkContent, *, origin: str) -> None:
        """`origin` is the machine that the events name as theirs."""
        self._connection = connection
        self._content = content
        self._origin = origin
        tables = ("project", "repository", "blob", "manifest", "artifact")
        self._ids = {table: Ids(connection, f"content_{table}") for table in tables}
        self._blobs = _known_blobs(connection, content.common_blobs())
        self._manifests: dict[bytes, int] = {}

    def load(self, say: Callable[[str, int], None] = lambda project, artifacts: None) -> int:
        """Load all projects; how many artifacts they have. `say` is told of each project. Raises
        psycopg.errors.UniqueViolation when the set was loaded before."""
        artifacts = 0
        for name in self._content.projects():
            with self._connection.transaction():
                project = self._project(name)
                self._number_events(project)
                self._copy(project)
            artifacts += len(project.rows["content_artifact"])
            say(name, artifacts)
        return artifacts

    def _project(self, name: str) -> _Project:
        project = _Project(self._ids["project"].next())
        project.add("content_project", project.id, name, False, False, UNLIMITED)
        self._event(project, ProjectCreated(name=name), project.id, None, [name_key(name), CATALOG_KEY])
        for path in self._content.repositories():
            repository_id = self._ids["repository"].next()
            project.add("content_repository", repository_id, project.id, path)
            self._repository(project, repository_id, self._content.artifacts(name, path))
        for blob_id, links in project.links.items():
            project.add("content_projectblob", project.id, blob_id, links)
        for manifest_id, artifacts in project.artifacts.items():
            project.add("content_projectmanifest", project.id, manifest_id, artifacts)
        self._stripes(project)
        return project

    def _repository(self, project: _Project, repository_id: int, artifacts: Iterable[LoadedArtifact]) -> None:
        linked: set[int] = set()
        for artifact in artifacts:
            ids = [self._blob(project, blob) for blob in artifact.blobs]
            for blob_id, blob in zip(ids, artifact.blobs, strict=True):
                if blob_id not in linked:
                    linked.add(blob_id)
                    self._link(project, repository_id, blob_id, len(blob.content))
            self._artifact(project, repository_id, artifact, sorted(set(ids)))

    def _blob(self, project: _Project, blob: LoadedBlob) -> int:
        known = self._blobs.get(blob.digest.raw)
        if known is not None:
            return known
        blob_id = self._blobs[blob.digest.raw] = self._ids["blob"].next()
        key = secrets.token_hex(16)
        where = (FilesystemStore.name, f"{key[:2]}/{key}")
        project.add("content_blob", blob_id, blob.digest.raw, len(blob.content), *where, Blob.State.LIVE.value)
        return blob_id

    def _link(self, project: _Project, repository_id: int, blob_id: int, size_bytes: int) -> None:
        project.add("content_repositoryblob", repository_id, blob_id, dt.datetime.now(dt.UTC) + _GRACE)
        project.links[blob_id] += 1
        if project.links[blob_id] == 1:
            project.pay(size_bytes, blob_id=blob_id)

    def _stripes(self, project: _Project) -> None:
        """All is charged to one stripe, as by one thread; the first charge dealt out what there is."""
        for stripe in range(STRIPES if project.used_bytes else 0):
            used, first = (project.used_bytes, project.first_bytes) if stripe == 0 else (0, 0)
            project.add("content_quotastripe", project.id, stripe, used, first + _ALLOWANCE_BYTES)

    def _artifact(
        self, project: _Project, repository_id: int, artifact: LoadedArtifact, blob_ids: Sequence[int]
    ) -> None:
        manifest, artifact_id = artifact.manifest, self._ids["artifact"].next()
        digest, about = manifest.digest.raw, accessory(manifest, artifact.tags)
        manifest_id = self._manifest(project, artifact)
        project.artifacts[manifest_id] += 1
        if project.artifacts[manifest_id] == 1:
            project.pay(len(manifest.content), manifest_id=manifest_id)
        project.add(
            "content_artifact", artifact_id, repository_id, manifest_id, digest,
            manifest.media_type, manifest.artifact_type, manifest.subject.raw if manifest.subject else None,
            about.subject.raw if about else None, about.kind if about else None, manifest.size_bytes, 0,
        )  # fmt: skip
        for blob_id in blob_ids:
            project.add("content_artifactblob", repository_id, blob_id, artifact_id, False)
        for tag in sorted(artifact.tags):
            project.add("content_tag", repository_id, artifact_id, tag)
            project.add("content_taghistory", repository_id, tag, None, digest, *_BY, "client")
        pushed = ArtifactPushed(
            artifact=artifact_id, digest=str(manifest.digest), tags=list(artifact.tags), reason="client"
        )
        self._event(project, pushed, project.id, repository_id, [repository_key(repository_id)])

    def _manifest(self, project: _Project, artifact: LoadedArtifact) -> int:
        manifest = artifact.manifest
        known = self._manifests.get(manifest.digest.raw)
        if known is not None:
            return known
        manifest_id = self._manifests[manifest.digest.raw] = self._ids["manifest"].next()
        content = (manifest.digest.raw, manifest.content, manifest.annotations)
        description = describe(manifest, artifact.config if has_telling_config(manifest) else None)
        project.add("content_manifest", manifest_id, *content, *astuple(description))
        for ordinal, descriptor in enumerate(manifest.descriptors):
            project.add("content_manifestdescriptor", *_descriptor_row(manifest_id, ordinal, descriptor))
        return manifest_id

    def _event(
        self,
        project: _Project,
        event: Payload,
        project_id: int | None,
        repository_id: int | None,
        changed: list[str],
    ) -> None:
        kind = kind_of(type(event)).name
        project.add("events_event", kind, project_id, repository_id, *_BY, as_json(event), changed, self._origin)

    def _number_events(self, project: _Project) -> None:
        """Give the events the numbers that the relay would give them: it has more to do than a million of ours."""
        events = project.rows["events_event"]
        self._connection.execute("INSERT INTO events_cursor (name, seq) VALUES ('relay', 0) ON CONFLICT DO NOTHING")
        cursor = self._connection.execute(
            "UPDATE events_cursor SET seq = seq + %s WHERE name = 'relay' RETURNING seq", [len(events)]
        )
        last: int = (cursor.fetchone() or (0,))[0]
        project.rows["events_event"] = [(seq, *event) for seq, event in enumerate(events, start=last - len(events) + 1)]

    def _copy(self, project: _Project) -> None:
        for table, rows in project.rows.items():
            columns = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS[table]))
            statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)
            with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
                for row in rows:
                    copy.write_row(row)


def _known_blobs(connection: psycopg.Connection[Any], blobs: Iterable[LoadedBlob]) -> dict[bytes, int]:
    """The ids, by digest, of those of the blobs that are there already: from another set, or pushed."""
    digests = [blob.digest.raw for blob in blobs]
    return dict(connection.execute("SELECT digest, id FROM content_blob WHERE digest = ANY(%s)", [digests]).fetchall())


def _descriptor_row(manifest_id: int, ordinal: int, d: Descriptor) -> tuple[Any, ...]:
    platform = None if d.platform is None else Jsonb(d.platform)
    return manifest_id, ordinal, d.role, d.digest.raw, d.media_type, d.size_bytes, platform, d.is_foreign
