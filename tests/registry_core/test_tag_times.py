"""The times of a tag's history are in the order of what happened, also when a push began before a delete."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections, transaction

from projects.services import create_project
from registry_core.access import SYSTEM
from registry_core.content.manifests import put_manifest
from registry_core.content.models import Artifact, Project
from registry_core.content.parsing import OCI_INDEX, parse_manifest
from registry_core.content.repositories import ProjectRef, RepositoryRef, ensure_repository
from registry_core.content.tags import delete_tag, move_tag
from registry_core.digests import Digest
from registry_core.names import RepositoryName

EMPTY = parse_manifest(b'{"schemaVersion":2,"manifests":[]}', content_type=OCI_INDEX)


@pytest.mark.django_db(transaction=True)
def test_a_tag_made_again_by_a_push_that_began_before_its_delete_is_younger_than_the_delete(unique: str) -> None:
    project: Project = create_project(name=unique, is_public=False, by=SYSTEM)
    reference = ProjectRef(project.pk, unique, False, False)
    repository = ensure_repository(project=reference, name=RepositoryName.parse(f"{unique}/app"))
    put_manifest(repository=repository, manifest=EMPTY, tags=["v1"], by=SYSTEM)
    artifact = Artifact.objects.get(repository_id=repository.id)

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT now()")  # the push's transaction has begun
        _elsewhere(repository)
        digest = Digest(bytes(artifact.digest))
        move_tag(repository=repository, tag="v1", artifact_id=artifact.pk, digest=digest, by=SYSTEM, reason="client")

    assert _history(repository) == ["made", "deleted", "made"]


def _elsewhere(repository: RepositoryRef) -> None:
    def delete() -> None:
        delete_tag(repository=repository, tag="v1", by=SYSTEM)
        connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(delete).result()


def _history(repository: RepositoryRef) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT new_digest IS NULL FROM content_taghistory WHERE repository_id = %s ORDER BY at", [repository.id]
        )
        return ["deleted" if is_gone else "made" for (is_gone,) in cursor.fetchall()]
