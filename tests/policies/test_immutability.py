"""An immutable tag is neither moved nor deleted, on any path, whoever asks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from projects.copying import copy_artifact
from projects.immutability.operations import Changes, create_rule, delete_rule, parse_selection, update_rule
from projects.immutability.rules import NAME, Protection, tags_selected
from projects.models import ImmutabilityRule
from projects.selectors import Selector
from projects.services import create_project, delete_project
from registry_core.content.errors import Protected
from registry_core.content.manifests import delete_manifest, put_manifest
from registry_core.content.models import Artifact, Project, Repository, Tag
from registry_core.content.parsing import OCI_INDEX, parse_manifest
from registry_core.content.policies import policies
from registry_core.content.policy_contexts import RestoreContext
from registry_core.content.project_policies import policies_changing
from registry_core.content.repositories import RepositoryRef, project_ref, repository_ref
from registry_core.content.repository_changes import delete_repository
from registry_core.content.tags import create_tag, delete_tag
from registry_core.digests import Digest
from registry_core.errors import AlreadyExists, InvalidInput, NotFound
from registry_core.events.models import Event
from registry_core.names import RepositoryName
from tests.api.content import put, put_about, repository_of
from tests.support.operations import BY_SYSTEM

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return create_project(name="governed", is_public=False, cause=BY_SYSTEM)


@pytest.fixture
def protect(project: Project) -> Callable[..., ImmutabilityRule]:
    """Create a rule for tags and repositories that match."""

    def create(pattern: str = "v*", repositories: str = "**", **values: Any) -> ImmutabilityRule:
        return create_rule(project=project, selection=selection(pattern, repositories), cause=BY_SYSTEM, **values)

    return create


def selection(tags: str = "v*", repositories: str = "**", *, excludes: bool = False) -> Any:
    decoration = "excludes" if excludes else "matches"
    return parse_selection(
        [Selector("doublestar", decoration, tags)], [Selector("doublestar", "repoMatches", repositories)]
    )


def now(project: Project, name: str = "app") -> RepositoryRef:
    """The repository as a request that begins now finds it."""
    repository_of(Project.objects.get(pk=project.pk), name)
    return repository_ref(Repository.objects.select_related("project").get(project=project, name=name))


def test_a_tag_is_created_once_and_the_same_put_may_be_repeated(project: Project, protect: Any) -> None:
    protect()
    repository = now(project)
    index = parse_manifest(b'{"schemaVersion":2,"manifests":[]}', content_type=OCI_INDEX)
    for _ in range(2):
        put_manifest(repository=repository, manifest=index, tags=["v1", "latest"], cause=BY_SYSTEM)
    with pytest.raises(Protected, match="the tag v1 of governed/app is immutable by rule"):
        put(repository, "v1")
    with pytest.raises(Protected):
        put(repository, "latest", "v1")
    assert Tag.objects.get(name="latest").artifact_id == Tag.objects.get(name="v1").artifact_id
    put(repository, "latest")
    assert Tag.objects.get(name="latest").artifact_id != Tag.objects.get(name="v1").artifact_id


def test_neither_the_tag_nor_what_has_it_is_deleted(project: Project, protect: Any) -> None:
    repository = now(project)
    digest = put(repository, "v1", "other")
    rule = protect()
    deletes: list[Callable[[], None]] = [
        lambda: delete_tag(repository=now(project), tag="v1", cause=BY_SYSTEM),
        lambda: delete_manifest(repository=now(project), digest=digest, cause=BY_SYSTEM),
        lambda: delete_repository(repository=now(project), cause=BY_SYSTEM),
    ]
    for delete in deletes:
        with pytest.raises(Protected, match="v1 of governed/app is immutable"):
            delete()
    delete_tag(repository=now(project), tag="other", cause=BY_SYSTEM)
    update_rule(project=project, rule_id=rule.pk, changes=Changes(is_disabled=True), cause=BY_SYSTEM)
    for delete in deletes[1:]:
        delete()
    delete_project(project=Project.objects.get(pk=project.pk), cause=BY_SYSTEM)


def test_a_referrer_with_an_immutable_tag_keeps_its_subject(project: Project, protect: Any) -> None:
    repository = now(project)
    digest = put(repository, "dev")
    referrer = put_about(repository, digest, "application/vnd.example")
    create_tag(repository=repository, tag="v1", digest=referrer, cause=BY_SYSTEM)
    protect()
    with pytest.raises(Protected):
        delete_manifest(repository=now(project), digest=digest, cause=BY_SYSTEM)


def test_signing_goes_on_under_a_rule_for_all_tags(project: Project, protect: Any) -> None:
    protect("**")
    repository = now(project)
    signature = f"{str(put(repository, 'v1')).replace(':', '-')}.sig"
    for _ in range(2):
        put(repository, signature)
    delete_tag(repository=repository, tag=signature, cause=BY_SYSTEM)


def test_rules_of_other_repositories_and_exclusions(project: Project, protect: Any) -> None:
    protect("v*", "prod/**")
    create_rule(project=project, selection=selection("dev-*", "strict", excludes=True), cause=BY_SYSTEM)
    for name, tag, is_protected in (
        ("prod/app", "v1", True), ("prod/app", "dev-1", False), ("test/app", "v1", False),
        ("strict", "dev-1", False), ("strict", "anything", True),
    ):  # fmt: skip
        repository = now(project, name)
        put(repository, tag)
        protection = Protection(project.pk, repository.project.policies)
        assert protection.covers(name, tag) is is_protected
        assert (
            Tag.objects.filter(protection.condition(name), repository_id=repository.id, name=tag).exists()
            is is_protected
        )
        if is_protected:
            with pytest.raises(Protected):
                put(repository, tag)
        else:
            put(repository, tag)
    assert [tag.name for tag in tags_selected(project.pk, selection("v*", "prod/**"))] == ["v1"]


def test_a_copy_that_would_move_a_tag_copies_nothing(project: Project, protect: Any) -> None:
    source, target = now(project, "source"), now(project, "target")
    for each in (source, target):
        put(each, "v1")
    protect(repositories="target")
    source = now(project, "source")
    with pytest.raises(Protected):
        copy_artifact(
            source=source,
            artifact=Artifact.objects.get(repository_id=source.id),
            project=source.project,
            name=RepositoryName("governed", "target"),
            cause=BY_SYSTEM,
        )
    assert Artifact.objects.filter(repository_id=target.id).count() == 1


def test_a_deletion_is_restored_only_where_that_moves_no_immutable_tag(project: Project, protect: Any) -> None:
    digest = put(now(project), "v1")
    protect()
    repository = now(project)
    policies.ask(RestoreContext(BY_SYSTEM, repository, 1, {}, {"v1": digest, "v2": digest}))
    with pytest.raises(Protected):
        policies.ask(RestoreContext(BY_SYSTEM, repository, 1, {}, {"v1": Digest.of(b"other")}))


def test_a_project_costs_something_only_while_a_rule_is_enabled(project: Project, protect: Any) -> None:
    def applied() -> list[str]:
        return Project.objects.get(pk=project.pk).policies

    first, second = protect(), protect("w*", is_disabled=True)
    assert applied() == [NAME]
    delete_rule(project=project, rule_id=first.pk, cause=BY_SYSTEM)
    assert applied() == []
    update_rule(project=project, rule_id=second.pk, changes=Changes(is_disabled=False), cause=BY_SYSTEM)
    assert applied() == [NAME]
    kinds = Event.objects.filter(project_id=project.pk, kind__startswith="immutability").values_list("kind", flat=True)
    assert [kind.rpartition(".")[2] for kind in kinds.order_by("pk")] == ["created", "created", "deleted", "updated"]
    key = f"project:{project.pk}"
    assert all(key in event.changed for event in Event.objects.filter(kind__startswith="immutability"))


def test_what_makes_no_sense_is_refused(project: Project, protect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = protect()
    with pytest.raises(AlreadyExists, match=f"rule {rule.pk}"):
        protect()
    with pytest.raises(NotFound):
        delete_rule(project=project, rule_id=rule.pk + 1, cause=BY_SYSTEM)
    other = create_project(name="other", is_public=False, cause=BY_SYSTEM)
    with pytest.raises(NotFound):
        delete_rule(project=other, rule_id=rule.pk, cause=BY_SYSTEM)
    monkeypatch.setattr("projects.immutability.operations.RULES_MAX", 1)
    with pytest.raises(InvalidInput, match="at most 1"):
        protect("w*")


def test_a_push_of_new_tags_takes_no_more_statements_with_rules(project: Project, protect: Any) -> None:
    before = _statements_of_push(now(project), "v1")
    protect()
    assert _statements_of_push(now(project), "v2") == before


def _statements_of_push(repository: RepositoryRef, tag: str) -> int:
    put(repository, "warm-up")
    with CaptureQueriesContext(connection) as captured:
        put(repository, tag)
    return len(captured)


def test_ten_thousand_tags_are_evaluated_at_once(project: Project, protect: Any) -> None:
    for number in range(10):
        protect(f"release-{number}.*")
    repository = now(project)
    put(repository, "dev")
    artifact = Artifact.objects.get()
    Tag.objects.bulk_create(
        Tag(repository_id=repository.id, artifact=artifact, name=f"release-x.{number}") for number in range(10_000)
    )
    with CaptureQueriesContext(connection) as captured:
        delete_repository(repository=repository, cause=BY_SYSTEM)
    assert len([query for query in captured if "immutabilityrule" in query["sql"]]) == 1


def test_the_rules_of_now_decide_for_a_request_that_began_before_them(project: Project, protect: Any) -> None:
    repository = now(project)
    digest = put(repository, "v1")
    protect()
    with pytest.raises(Protected):
        put(repository, "v1")
    with pytest.raises(Protected):
        delete_tag(repository=repository, tag="v1", cause=BY_SYSTEM)
    with pytest.raises(Protected):
        delete_manifest(repository=repository, digest=digest, cause=BY_SYSTEM)
    with pytest.raises(Protected):
        delete_repository(repository=repository, cause=BY_SYSTEM)


def run(*acts: Callable[[], Any]) -> list[BaseException | None]:
    """Run each in a thread of its own, with a connection of its own; the errors that they raised."""
    errors: list[BaseException | None] = [None] * len(acts)

    def guarded(number: int, act: Callable[[], Any]) -> None:
        try:
            act()
        except Exception as error:
            errors[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=guarded, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return errors


@pytest.mark.django_db(transaction=True)
def test_of_two_pushes_that_create_a_tag_at_once_one_wins(project: Project, protect: Any) -> None:
    protect()
    repository = now(project)
    for number in range(20):
        errors = run(*[lambda tag=f"v{number}": put(repository, tag)] * 2)
        assert sorted(type(error).__name__ for error in errors) == ["NoneType", "Protected"]


@pytest.mark.django_db(transaction=True)
def test_once_a_rule_is_acknowledged_nothing_in_progress_moves_a_tag(project: Project) -> None:
    repository = now(project)
    for number in range(20):
        tag = f"v{number}"
        seen: dict[str, int] = {}
        put(repository, tag)

        def establish(tag: str = tag, seen: dict[str, int] = seen) -> None:
            create_rule(project=project, selection=selection(tag), cause=BY_SYSTEM)
            seen["artifact"] = Tag.objects.get(name=tag, deleted_at=None).artifact_id

        moves = [lambda tag=tag: put(repository, tag, f"also-{tag}") for _ in range(3)]
        errors = run(*moves, establish)
        assert errors[-1] is None
        assert {type(error) for error in errors} <= {type(None), Protected}
        assert Tag.objects.get(name=tag, deleted_at=None).artifact_id == seen["artifact"]


@pytest.mark.django_db(transaction=True)
def test_a_rule_waits_for_a_move_in_progress_and_holds_up_the_next(project: Project, protect: Any) -> None:
    repository = now(project)
    put(repository, "v1")
    with policies_changing(project=project_ref(project), cause=BY_SYSTEM):
        mover = threading.Thread(target=run, args=(lambda: create_tag_of(repository), lambda: put(repository, "v1")))
        mover.start()
        mover.join(0.3)
        assert mover.is_alive()
        assert Tag.objects.filter(name="created").exists(), "new tags do not wait"
    mover.join(60)
    assert Tag.objects.filter(name="v1").count() == 1


def create_tag_of(repository: RepositoryRef) -> None:
    digest = Digest(bytes(Artifact.objects.filter(repository_id=repository.id).earliest("pk").digest))
    create_tag(repository=repository, tag="created", digest=digest, cause=BY_SYSTEM)
