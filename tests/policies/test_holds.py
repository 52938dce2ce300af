"""Nothing deletes an artifact under legal hold, nor takes a tag from it or what is attached to it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from projects.holds.operations import release_hold, set_hold
from projects.holds.queries import NAME, held_artifact_ids
from projects.models import Hold
from registry_core.content.errors import ManifestUnknown, Protected
from registry_core.content.manifests import delete_manifest
from registry_core.content.models import Artifact, Project, Tag
from registry_core.content.repository_changes import delete_repository
from registry_core.content.tags import create_tag, delete_tag
from registry_core.digests import Digest
from registry_core.errors import InvalidInput, NotFound
from registry_core.events.models import Event
from tests.api.content import put, put_about
from tests.policies.test_immutability import now, run
from tests.policies.test_immutability import project as project
from tests.support.operations import BY_SYSTEM

pytestmark = pytest.mark.django_db


def hold(project: Project, digest: Digest, reason: str = "case 17") -> bool:
    return set_hold(repository=now(project), digest=digest, reason=reason, cause=BY_SYSTEM)


def test_a_held_artifact_keeps_its_tags_and_what_is_attached_to_it(project: Project) -> None:
    before = now(project)
    digest = put(before, "v1")
    signature = put_about(before, digest, "application/vnd.example.signature")
    of_signature = put_about(before, signature, "application/vnd.example.note")
    create_tag(repository=before, tag="note", digest=of_signature, cause=BY_SYSTEM)
    assert hold(project, digest)
    assert held_artifact_ids(before) == {Artifact.objects.get(digest=digest.raw).pk}
    for repository in (before, now(project)):
        acts: list[partial[Any]] = [
            partial(delete_tag, repository=repository, tag="v1", cause=BY_SYSTEM),
            partial(delete_tag, repository=repository, tag="note", cause=BY_SYSTEM),
            partial(put, repository, "v1"),
            partial(delete_repository, repository=repository, cause=BY_SYSTEM),
            *(
                partial(delete_manifest, repository=repository, digest=each, cause=BY_SYSTEM)
                for each in (digest, signature, of_signature)
            ),
        ]
        for act in acts:
            with pytest.raises(Protected, match="legal hold"):
                act()
    assert Artifact.objects.filter(deleted_at=None).count() == 3
    create_tag(repository=now(project), tag="evidence", digest=digest, cause=BY_SYSTEM)
    delete_manifest(repository=now(project), digest=put(now(project), "other"), cause=BY_SYSTEM)

    release_hold(repository=now(project), digest=digest, cause=BY_SYSTEM)
    assert held_artifact_ids(before) == set()
    put(now(project), "v1")
    delete_manifest(repository=now(project), digest=digest, cause=BY_SYSTEM)


def test_a_project_costs_something_only_while_something_is_held(project: Project) -> None:
    first, second = put(now(project), "v1"), put(now(project), "v2")
    for digest in (first, second):
        hold(project, digest)
    release_hold(repository=now(project), digest=first, cause=BY_SYSTEM)
    assert Project.objects.get(pk=project.pk).policies == [NAME]
    release_hold(repository=now(project), digest=second, cause=BY_SYSTEM)
    assert Project.objects.get(pk=project.pk).policies == []
    with pytest.raises(NotFound):
        release_hold(repository=now(project), digest=second, cause=BY_SYSTEM)


def test_who_holds_it_and_why_is_known_and_logged(project: Project) -> None:
    digest = put(now(project), "v1")
    assert hold(project, digest)
    assert not hold(project, digest), "the same again changes nothing"
    assert hold(project, digest, "case 18")
    held = Hold.objects.get()
    assert (held.reason, held.subject_name) == ("case 18", BY_SYSTEM.subject.name)
    release_hold(repository=now(project), digest=digest, cause=BY_SYSTEM)
    events = Event.objects.filter(kind__in=["artifact.held", "artifact.released"]).order_by("pk")
    assert [(event.kind, event.payload["hold_reason"]) for event in events] == [
        ("artifact.held", "case 17"), ("artifact.held", "case 18"), ("artifact.released", "case 18"),
    ]  # fmt: skip
    for reason in ("", " ", "x" * 1025, "a\u202eb"):
        with pytest.raises(InvalidInput):
            hold(project, digest, reason)
    with pytest.raises(NotFound):
        hold(project, Digest.of(b"none"))


def test_the_database_itself_keeps_the_row_of_a_held_artifact(project: Project) -> None:
    hold(project, put(now(project), "v1"))
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("""
            DELETE FROM content_tag; DELETE FROM content_artifactblob; DELETE FROM content_artifact;
            SET CONSTRAINTS ALL IMMEDIATE
        """)


@pytest.mark.django_db(transaction=True)
def test_of_a_hold_and_a_delete_at_once_one_wins(project: Project) -> None:
    before = now(project)
    for number in range(20):
        digest = put(before, f"v{number}")
        delete, held, moved = run(
            partial(delete_manifest, repository=before, digest=digest, cause=BY_SYSTEM),
            partial(hold, project, digest),
            partial(put, before, f"v{number}", "multi", "zeta"),
        )
        is_held = Hold.objects.filter(artifact__digest=digest.raw).exists()
        assert is_held == (held is None)
        assert Artifact.objects.filter(digest=digest.raw, deleted_at=None).exists() == is_held
        assert isinstance(delete, Protected if is_held else ManifestUnknown | None)
        assert moved is None or isinstance(moved, Protected)
    assert Tag.objects.filter(name="multi", deleted_at=None).count() <= 1
