"""A manifest that nobody had before is stored by one statement, just as by the steps that do for all others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from psycopg._queries import MAX_CACHED_STATEMENT_LENGTH

from projects.services import create_project
from registry_core.content import fresh_manifests
from registry_core.content.blobs import BlobRef, store_blob
from registry_core.content.errors import ReferenceMissing
from registry_core.content.manifests import put_manifest
from registry_core.content.parsing import OCI_MANIFEST, ParsedManifest, parse_manifest
from registry_core.content.policies import Policy, policies
from registry_core.content.policy_contexts import Context, Moment
from registry_core.content.repositories import ProjectRef, RepositoryRef
from registry_core.digests import Digest
from registry_core.names import RepositoryName
from tests.support.operations import BY_SYSTEM, make_repository

pytestmark = pytest.mark.django_db
# What of each table does not depend on when, in which order and under which content's digest something was stored.
ROWS = {
    "manifests": """
        SELECT kind, config_type, icon, extra_attrs FROM content_manifest AS manifest
        WHERE manifest.id = artifact.manifest_id
    """,
    "descriptors": """
        SELECT ordinal, role, digest, media_type, size_bytes, platform, is_foreign FROM content_manifestdescriptor AS d
        WHERE d.manifest_id = artifact.manifest_id ORDER BY ordinal
    """,
    "artifacts": """
        SELECT artifact.media_type, artifact.artifact_type, artifact.subject_digest, artifact.accessory_of,
               artifact.accessory_kind, artifact.size_bytes, artifact.pull_count
    """,
    "uses": "SELECT blob_id, is_trashed FROM content_artifactblob WHERE artifact_id = artifact.id ORDER BY blob_id",
    "tags": "SELECT name, deleted_at FROM content_tag WHERE artifact_id = artifact.id ORDER BY name",
    "moves": """
        SELECT tag, old_digest, new_digest = artifact.digest, subject_kind, subject_id, reason FROM content_taghistory
        WHERE repository_id = artifact.repository_id AND new_digest = artifact.digest ORDER BY tag
    """,
    "events": """
        SELECT kind, project_id, subject_kind, subject_id, client, request_id, result, payload - 'artifact' - 'digest',
               payload -> 'artifact' = to_jsonb(artifact.id), changed = ARRAY['repository:' || repository_id], origin
        FROM events_event WHERE repository_id = artifact.repository_id AND payload ->> 'artifact' = artifact.id::text
    """,
}


@pytest.fixture
def repository() -> RepositoryRef:
    project = create_project(name="fresh", is_public=False, cause=BY_SYSTEM)
    reference = ProjectRef(project.pk, "fresh", is_public=False, allows_sparse_manifests=False)
    return make_repository(reference, RepositoryName("fresh", "app"))


class _Asked(Policy):
    """Concerns every project, and refuses nothing."""

    name = "asked"
    moments = frozenset({Moment.PUT})

    def concerns(self, project: ProjectRef) -> bool:
        return True

    def check(self, context: Context) -> None:
        """Nothing is refused."""


@pytest.fixture
def asked() -> Iterator[Callable[[], None]]:
    """A policy wants to be asked under the locks from then on, so that manifests are stored step by step."""
    policy = _Asked()
    yield lambda: policies.register(policy)
    policies.unregister(policy)


def made(repository: RepositoryRef, content: bytes) -> dict[str, Any]:
    """The descriptor of a blob that the repository has."""
    blob = BlobRef(0, Digest.of(content), len(content), "filesystem", f"aa/{content.hex()}")
    store_blob(repository=repository, blob=blob)
    return {"mediaType": "application/vnd.example.layer", "digest": str(blob.digest), "size": len(content)}


def manifest_of(repository: RepositoryRef, layers: list[bytes], number: int = 0, **more: Any) -> ParsedManifest:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": made(repository, b"config") | {"mediaType": "application/vnd.example.config"},
        "layers": [made(repository, layer) for layer in layers],
        "annotations": {"number": f"{number:04d}"},
        **more,
    }
    return parse_manifest(json.dumps(document).encode(), content_type=OCI_MANIFEST)


def rows(artifact_id: int) -> dict[str, list[tuple[Any, ...]]]:
    found = {}
    for name, statement in ROWS.items():
        with connection.cursor() as cursor:
            source = f"SELECT found.* FROM content_artifact AS artifact, LATERAL ({statement}) AS found"
            cursor.execute(f"{source} WHERE artifact.id = %s", [artifact_id])
            found[name] = cursor.fetchall()
    return found


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """What the one statement came to, each time that it was tried."""
    results: list[int | None] = []

    def noted(**values: Any) -> int | None:
        results.append(fresh_manifests.store_fresh(**values))
        return results[-1]

    monkeypatch.setattr("registry_core.content.manifests.store_fresh", noted)
    return results


def put(repository: RepositoryRef, manifest: ParsedManifest, *tags: str) -> int:
    return put_manifest(repository=repository, manifest=manifest, tags=tags, cause=BY_SYSTEM).artifact_id


@pytest.mark.parametrize("layers", [[], [b"one"], [b"one", b"two", b"one"]], ids=len)
@pytest.mark.parametrize("tags", [(), ("v1",), ("v2", "v1", "v2")], ids=len)
def test_its_rows_are_those_of_the_steps(
    repository: RepositoryRef,
    at_once: list[int | None],
    asked: Callable[[], None],
    layers: list[bytes],
    tags: tuple[str, ...],
) -> None:
    stored = put(repository, manifest_of(repository, layers, 1), *tags)
    asked()
    other = make_repository(repository.project, RepositoryName("fresh", "other"))
    by_steps = put(other, manifest_of(other, layers, 2), *tags)
    assert at_once == [stored]
    expected, found = rows(by_steps), rows(stored)
    assert len(found["descriptors"]) == 1 + len(layers)
    assert len(found["events"]) == 1
    assert len(found["moves"]) == len(found["tags"]) == len(set(tags))
    for name in ROWS:
        assert found[name] == expected[name], name


def test_psycopg_keeps_the_statement_parsed() -> None:
    assert len(fresh_manifests._STORE) <= MAX_CACHED_STATEMENT_LENGTH


def test_what_is_not_fresh_is_stored_by_the_steps(repository: RepositoryRef, at_once: list[int | None]) -> None:
    first, second = (manifest_of(repository, [b"one"], number) for number in (1, 2))
    other = make_repository(repository.project, RepositoryName("fresh", "other"))
    manifest_of(other, [b"one"])
    stored = put(repository, first, "v1")
    again = put(repository, first, "v2")
    moved = put(repository, second, "v1")
    elsewhere = put(other, first, "v1")
    assert at_once == [stored, None, None, None]
    assert (stored, len({stored, moved, elsewhere})) == (again, 3)
    assert [[tag for tag, _ in rows(artifact)["tags"]] for artifact in (stored, moved)] == [["v2"], ["v1"]]


def test_a_manifest_whose_blob_is_not_there_is_refused(repository: RepositoryRef, at_once: list[int | None]) -> None:
    other = make_repository(repository.project, RepositoryName("fresh", "other"))
    manifest = manifest_of(repository, [b"one"])
    with pytest.raises(ReferenceMissing):
        put(other, manifest, "v1")
    assert at_once == [None]


def test_what_is_about_another_artifact_is_not_tried_at_once(
    repository: RepositoryRef, at_once: list[int | None]
) -> None:
    subject = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(b"subject")), "size": 7}
    put(repository, manifest_of(repository, [b"one"], subject=subject), "v1")
    put(repository, manifest_of(repository, [b"one"], 2), f"sha256-{'0' * 64}.sig")
    assert at_once == []
