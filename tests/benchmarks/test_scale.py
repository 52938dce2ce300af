"""The COPY loader writes what pushing the same artifacts would have written, in every table and column."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from projects.services import create_project
from registry_core.content.blobs import BlobRef, store_blob
from registry_core.content.manifests import put_manifest
from registry_core.content.repositories import ProjectRef, RepositoryRef
from registry_core.events.relay import relay
from registry_core.machine.state import machine_id
from registry_core.names import RepositoryName
from registry_core.storage.filesystem import FilesystemStore
from registry_core.storage.stores import default_store
from tests.benchmarks.bulk_content import BulkContent, LoadedArtifact
from tests.benchmarks.bulk_load import TABLES, BulkLoader
from tests.benchmarks.scale import DATA_SETS, DataSet
from tests.support.operations import BY_SYSTEM, make_repository

THOUSAND = DataSet("thousand", projects=4, repositories=5, artifacts=50, tags=3)

# An id that another table refers to is compared by what it stands for.
_NAMES = {
    "content_project": "SELECT id, name FROM content_project",
    "content_repository": "SELECT r.id, p.name || '/' || r.name FROM content_repository AS r"
    " JOIN content_project AS p ON p.id = r.project_id",
    "content_blob": "SELECT id, encode(digest, 'hex') FROM content_blob",
    "content_manifest": "SELECT id, encode(digest, 'hex') FROM content_manifest",
    "content_artifact": "SELECT a.id, p.name || '/' || r.name || '@' || encode(a.digest, 'hex')"
    " FROM content_artifact AS a JOIN content_repository AS r ON r.id = a.repository_id"
    " JOIN content_project AS p ON p.id = r.project_id",
}
_REFERENCES = {
    "project_id": "content_project", "repository_id": "content_repository", "blob_id": "content_blob",
    "manifest_id": "content_manifest", "artifact_id": "content_artifact",
}  # fmt: skip
# Ids, times, from where and by which request, the random key, the transaction's number, and the stripe that a thread
# happens to charge.
_LEFT_OUT = {
    "client",
    "request_id",
    "id",
    "created_at",
    "updated_at",
    "changed_at",
    "pushed_at",
    "grace_until",
    "at",
    "storage_key",
    "xact",
    "stripe",
}

Names = dict[str, dict[int, str]]
Rows = dict[str, Counter[tuple[Any, ...]]]


class Undo(Exception):
    """Ends a savepoint."""


@pytest.mark.django_db
def test_a_thousand_loaded_artifacts_are_the_rows_of_a_thousand_pushed_ones() -> None:
    content = BulkContent(THOUSAND)
    relay()

    pushed = _rows_of(lambda: _push_all(content))
    loaded = _rows_of(lambda: BulkLoader(_psycopg(), content, origin=machine_id()).load())

    assert sum(pushed["content_artifact"].values()) == 1000
    assert {table: sum(rows.values()) for table, rows in loaded.items()} == {
        table: sum(rows.values()) for table, rows in pushed.items()
    }
    for table in TABLES:
        assert loaded[table] == pushed[table], table


def test_the_sets_have_the_sizes_that_they_are_named_for() -> None:
    sizes = {
        name: (s.projects * s.repositories * s.artifacts, s.projects * s.repositories * s.artifacts * s.tags)
        for name, s in DATA_SETS.items()
    }
    assert sizes == {"small": (100_000, 500_000), "medium": (800_000, 8_000_000), "tags": (10_000, 100_000)}


def test_a_set_is_varied() -> None:
    content = BulkContent(THOUSAND)
    artifacts = list(content.artifacts("p", "r"))
    assert len({artifact.manifest.media_type for artifact in artifacts}) >= 3
    assert any(artifact.manifest.subject for artifact in artifacts)
    assert any(descriptor.platform for artifact in artifacts for descriptor in artifact.manifest.descriptors)


def _psycopg() -> Any:
    connection.ensure_connection()
    return connection.connection


def _rows_of(work: Callable[[], object]) -> Rows:
    """The rows that `work` adds, which are taken back afterwards."""
    before = _rows()
    found: Rows = {}
    try:
        with transaction.atomic():
            work()
            found = {table: rows - before[table] for table, rows in _rows().items()}
            raise Undo
    except Undo:
        return found


def _rows() -> Rows:
    with connection.cursor() as cursor:
        names = {}
        for table, statement in _NAMES.items():
            cursor.execute(statement)
            names[table] = dict(cursor.fetchall())
        return {table: _table(cursor, table, names) for table in TABLES}


def _table(cursor: Any, table: str, names: Names) -> Counter[tuple[Any, ...]]:
    cursor.execute(f"SELECT * FROM {table}")
    columns = [column.name for column in cursor.description]
    return Counter(_comparable(dict(zip(columns, row, strict=True)), names) for row in cursor.fetchall())


def _comparable(row: dict[str, Any], names: Names) -> tuple[Any, ...]:
    return tuple((column, _value(column, value, names)) for column, value in row.items() if column not in _LEFT_OUT)


def _value(column: str, value: Any, names: Names) -> Any:
    if value is None:
        return None
    if column in _REFERENCES:
        return names[_REFERENCES[column]][value]
    if column == "changed":
        return tuple(_changed(key, names) for key in value)
    if column == "payload":
        payload = json.loads(value) if isinstance(value, str) else value
        if "artifact" in payload:
            payload["artifact"] = names["content_artifact"][payload["artifact"]]
        return json.dumps(payload, sort_keys=True)
    if isinstance(value, list):
        return tuple(value)
    return bytes(value) if isinstance(value, memoryview) else value


def _changed(key: str, names: Names) -> str:
    kind, _, number = key.partition(":")
    return names["content_repository"][int(number)] if kind == "repository" else key


def _push_all(content: BulkContent) -> None:
    for name in content.projects():
        made = create_project(name=name, is_public=False, cause=BY_SYSTEM)
        project = ProjectRef(made.pk, made.name, made.is_public, made.allows_sparse_manifests)
        for path in content.repositories():
            repository = make_repository(project, RepositoryName.parse(f"{name}/{path}"))
            for artifact in content.artifacts(name, path):
                _push(repository, artifact)
    while relay():
        pass


def _push(repository: RepositoryRef, artifact: LoadedArtifact) -> None:
    for blob in artifact.blobs:
        where = (FilesystemStore.name, _stored(blob.content) if blob.content == artifact.config else _nowhere())
        store_blob(repository=repository, blob=BlobRef(0, blob.digest, len(blob.content), *where))
    put_manifest(repository=repository, manifest=artifact.manifest, tags=artifact.tags, cause=BY_SYSTEM)


def _stored(content: bytes) -> str:
    """The key of an object with these bytes: of a config, which is read when its manifest comes."""
    writer = default_store().writer(default_store().new_key(), offset=0, parts=[])
    writer.write(content)
    return writer.commit()


def _nowhere() -> str:
    """The key of an object that nobody reads, and that need not be there."""
    return default_store().new_key()
