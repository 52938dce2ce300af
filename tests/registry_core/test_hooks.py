"""Hooks: what a policy refuses does not happen, on any of the paths that change content."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from projects.services import create_project
from registry_core.access import SYSTEM
from registry_core.content.errors import Refused
from registry_core.content.hooks import DeleteContext, PutContext, TagContext, UploadContext, hooks
from registry_core.content.manifests import delete_manifest, put_manifest
from registry_core.content.models import Artifact, Tag
from registry_core.content.parsing import OCI_INDEX, parse_manifest
from registry_core.content.repositories import ProjectRef, RepositoryRef, ensure_repository
from registry_core.content.tags import delete_tag
from registry_core.content.uploads import start_upload
from registry_core.names import RepositoryName

EMPTY_INDEX = b'{"schemaVersion":2,"manifests":[]}'

pytestmark = pytest.mark.django_db


@pytest.fixture
def repository() -> RepositoryRef:
    project = create_project(name="hooked", is_public=False, by=SYSTEM)
    reference = ProjectRef(project.pk, "hooked", is_public=False, allows_sparse_manifests=False)
    return ensure_repository(project=reference, name=RepositoryName("hooked", "app"))


@pytest.fixture(autouse=True)
def _no_hook_stays() -> Iterator[None]:
    moments: list[list[Any]] = [hooks.put, hooks.tag, hooks.delete, hooks.upload]
    before = [list(registered) for registered in moments]
    yield
    for registered, own in zip(moments, before, strict=True):
        registered[:] = own


def refuse(context: object) -> None:
    raise Refused("the policy of this test forbids it")


def push(repository: RepositoryRef, tag: str) -> None:
    manifest = parse_manifest(EMPTY_INDEX, content_type=OCI_INDEX)
    put_manifest(repository=repository, manifest=manifest, tags=[tag], by=SYSTEM, client="192.0.2.1")


def test_a_refused_manifest_is_not_stored(repository: RepositoryRef) -> None:
    hooks.put.append(refuse)

    with pytest.raises(Refused):
        push(repository, "v1")

    assert not Artifact.objects.filter(repository_id=repository.id).exists()


def test_a_refused_tag_takes_its_manifest_with_it(repository: RepositoryRef) -> None:
    hooks.tag.append(refuse)

    with pytest.raises(Refused):
        push(repository, "v1")

    assert not Artifact.objects.filter(repository_id=repository.id).exists()


def test_a_hook_is_told_who_pushes_what_and_from_where(repository: RepositoryRef) -> None:
    puts: list[PutContext] = []
    moves: list[TagContext] = []
    hooks.put.append(puts.append)
    hooks.tag.append(moves.append)

    push(repository, "v1")
    push(repository, "v1")

    assert [(put.subject, put.client, put.tags) for put in puts] == [(SYSTEM, "192.0.2.1", ("v1",))] * 2
    assert [move.old for move in moves] == [None, puts[0].digest]


def test_a_refused_delete_leaves_everything_as_it_was(repository: RepositoryRef) -> None:
    push(repository, "v1")
    digest = parse_manifest(EMPTY_INDEX, content_type=OCI_INDEX).digest
    asked: list[DeleteContext] = []
    hooks.delete.extend([asked.append, refuse])

    with pytest.raises(Refused):
        delete_tag(repository=repository, tag="v1", by=SYSTEM)
    with pytest.raises(Refused):
        delete_manifest(repository=repository, digest=digest, by=SYSTEM)

    assert [(context.tag, context.digest) for context in asked] == [("v1", None), ("", digest)]
    assert Tag.objects.get(repository_id=repository.id, deleted_at=None).name == "v1"


def test_a_refused_upload_does_not_begin(repository: RepositoryRef) -> None:
    asked: list[UploadContext] = []
    hooks.upload.extend([asked.append, refuse])

    with pytest.raises(Refused):
        start_upload(repository=repository, by=SYSTEM, size_bytes=7)

    assert [context.size_bytes for context in asked] == [7]
