"""The times of a tag's history are in the order of what happened, also when a push began before a delete."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.db import connection, connections, transaction
from django.db.backends.utils import CursorWrapper

from projects.services import create_project
from registry_core.content.manifests import put_manifest
from registry_core.content.models import Artifact, Project
from registry_core.content.parsing import OCI_INDEX, parse_manifest
from registry_core.content.policy_contexts import artifact_content
from registry_core.content.repositories import ProjectRef, RepositoryRef
from registry_core.content.tags import delete_tag, move_tag
from registry_core.names import RepositoryName
from tests.support.operations import BY_SYSTEM, make_repository
from tests.support.waiting import wait_until

_GATE = 4711
EMPTY = parse_manifest(b'{"schemaVersion":2,"manifests":[]}', content_type=OCI_INDEX)


@pytest.mark.django_db(transaction=True)
def test_a_tag_made_again_by_a_push_that_began_before_its_delete_is_younger_than_the_delete(unique: str) -> None:
    repository, artifact = _with_tag(unique)

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT now()")  # the push's transaction has begun
        _elsewhere(repository)
        content = artifact_content(artifact)
        move_tag(repository=repository, tag="v1", artifact_id=artifact.pk, content=content, cause=BY_SYSTEM)

    assert _history(repository) == ["made", "deleted", "made"]


@pytest.mark.django_db(transaction=True)
def test_a_tag_made_again_by_a_statement_that_began_before_a_delete_is_younger_than_the_delete(unique: str) -> None:
    repository, artifact = _with_tag(unique)
    content = artifact_content(artifact)

    def push() -> None:
        with transaction.atomic():
            move_tag(repository=repository, tag="v1", artifact_id=artifact.pk, content=content, cause=BY_SYSTEM)
        connections.close_all()

    with ThreadPoolExecutor(1) as pool, connection.cursor() as cursor, _inserts_wait(cursor):
        pushed = pool.submit(push)
        wait_until(lambda: _is_somebody_waiting(cursor), what="the push is about to make the tag")
        delete_tag(repository=repository, tag="v1", cause=BY_SYSTEM)
        cursor.execute("SELECT pg_advisory_unlock(%s)", [_GATE])
        pushed.result()

    assert _history(repository) == ["made", "deleted", "made"]


@contextmanager
def _inserts_wait(cursor: CursorWrapper) -> Iterator[None]:
    """Every new tag waits for a lock that this session holds."""
    cursor.execute("SELECT pg_advisory_lock(%s)", [_GATE])
    cursor.execute(
        f"""
        CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_lock({_GATE}); PERFORM pg_advisory_unlock({_GATE}); RETURN NEW; END $$;
        CREATE TRIGGER gate BEFORE INSERT ON content_tag FOR EACH ROW EXECUTE FUNCTION wait_at_gate()
        """
    )
    try:
        yield
    finally:
        cursor.execute("SELECT pg_advisory_unlock_all()")
        cursor.execute("DROP TRIGGER gate ON content_tag; DROP FUNCTION wait_at_gate()")


def _is_somebody_waiting(cursor: CursorWrapper) -> bool:
    cursor.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted", [_GATE])
    return cursor.fetchone() is not None


def _with_tag(unique: str) -> tuple[RepositoryRef, Artifact]:
    project: Project = create_project(name=unique, is_public=False, cause=BY_SYSTEM)
    reference = ProjectRef(project.pk, unique, False, False)
    repository = make_repository(reference, RepositoryName.parse(f"{unique}/app"))
    put_manifest(repository=repository, manifest=EMPTY, tags=["v1"], cause=BY_SYSTEM)
    return repository, Artifact.objects.get(repository_id=repository.id)


def _elsewhere(repository: RepositoryRef) -> None:
    def delete() -> None:
        delete_tag(repository=repository, tag="v1", cause=BY_SYSTEM)
        connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(delete).result()


def _history(repository: RepositoryRef) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT new_digest IS NULL FROM content_taghistory WHERE repository_id = %s ORDER BY at", [repository.id]
        )
        return ["deleted" if is_gone else "made" for (is_gone,) in cursor.fetchall()]
