"""What a policy refuses does not happen, and what it is asked says all that it could want to know."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from projects.audit.consumer import write_entries
from projects.audit.models import AuditEntry
from projects.services import create_project, delete_project
from registry_core.content import refusals
from registry_core.content.errors import Protected, Refused
from registry_core.content.manifests import delete_manifest, put_manifest
from registry_core.content.models import Artifact, Project, Repository, Tag
from registry_core.content.parsing import OCI_INDEX, parse_manifest
from registry_core.content.policies import Policy, policies
from registry_core.content.policy_contexts import Context, DeletePlan, Moment, PutContext, TagContext, UploadContext
from registry_core.content.project_policies import policies_changing
from registry_core.content.repositories import RepositoryRef, ensure_repository, project_ref
from registry_core.content.repository_changes import delete_repository
from registry_core.content.tags import create_tag, delete_tag
from registry_core.content.uploads import start_upload
from registry_core.digests import Digest
from registry_core.events import repeated
from registry_core.events.models import Event
from registry_core.events.relay import relay
from registry_core.names import RepositoryName
from tests.api.conftest import Api, sysadmin  # noqa: F401 the fixture
from tests.api.conftest import make_user as make_user
from tests.api.content import put, put_about, put_index
from tests.policies.recorder import Recorder, registered
from tests.support.operations import BY_SYSTEM, make_repository

EMPTY_INDEX = b'{"schemaVersion":2,"manifests":[]}'
EMPTY = parse_manifest(EMPTY_INDEX, content_type=OCI_INDEX)

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return create_project(name="governed", is_public=False, cause=BY_SYSTEM)


@pytest.fixture
def repository(project: Project) -> RepositoryRef:
    return make_repository(project_ref(project), RepositoryName("governed", "app"))


@pytest.fixture
def policy() -> Iterator[Recorder]:
    with registered(Recorder("governed")) as recorder:
        yield recorder


def push(repository: RepositoryRef, tag: str) -> None:
    put_manifest(repository=repository, manifest=EMPTY, tags=[tag], cause=BY_SYSTEM)


@pytest.mark.parametrize("moment", [Moment.PUT, Moment.TAG])
def test_a_refused_push_stores_nothing(repository: RepositoryRef, policy: Recorder, moment: Moment) -> None:
    policy.refused = frozenset({moment})

    with pytest.raises(Refused):
        push(repository, "v1")
    with pytest.raises(Refused):
        put(repository, "v1")

    assert not Artifact.objects.filter(repository_id=repository.id).exists()


def test_a_push_tells_who_pushes_what_and_from_where(repository: RepositoryRef, policy: Recorder) -> None:
    push(repository, "v1")
    push(repository, "v1")

    puts = [context for context in policy.asked if isinstance(context, PutContext)]
    moves = [context for context in policy.asked if isinstance(context, TagContext)]
    assert [(context.cause, context.tags, context.content.digest) for context in puts] == [
        (BY_SYSTEM, ("v1",), EMPTY.digest)
    ] * 2
    assert [move.old for move in moves] == [None, EMPTY.digest]
    assert {move.content.media_type for move in moves} == {OCI_INDEX}
    assert [move.content.artifact_id for move in moves] == [Artifact.objects.get().pk] * 2


class _TagRule(Recorder):
    moments = frozenset({Moment.TAG})


def test_a_policy_about_tags_keeps_the_single_statement(repository: RepositoryRef) -> None:
    with registered(_TagRule("governed")) as policy:
        digest = put(repository, "v1", "v2")
        assert [context.tag for context in policy.asked if isinstance(context, TagContext)] == ["v1", "v2"]
        policy.refused = frozenset({Moment.TAG})
        with pytest.raises(Refused):
            put(repository, "v3")
    assert [artifact.digest for artifact in Artifact.objects.all()] == [digest.raw]


def test_a_refused_delete_leaves_everything_as_it_was(repository: RepositoryRef, policy: Recorder) -> None:
    push(repository, "v1")
    policy.refused = frozenset({Moment.DELETE})

    with pytest.raises(Refused):
        delete_tag(repository=repository, tag="v1", cause=BY_SYSTEM)
    with pytest.raises(Refused):
        delete_manifest(repository=repository, digest=EMPTY.digest, cause=BY_SYSTEM)
    with pytest.raises(Refused):
        delete_repository(repository=repository, cause=BY_SYSTEM)

    plans = [context for context in policy.asked if isinstance(context, DeletePlan)]
    assert [plan.whole for plan in plans] == ["tag", "artifact", "repository"]
    assert [plan.tags for plan in plans] == [{"v1": EMPTY.digest}] * 3
    assert Tag.objects.get(repository_id=repository.id, deleted_at=None).name == "v1"


def test_a_delete_plan_names_tags_accessories_and_children(repository: RepositoryRef, policy: Recorder) -> None:
    child = put(repository)
    index = put_index(repository, [child], "multi", "latest")
    signature = put_about(repository, index, "application/vnd.dev.cosign.artifact.sig.v1+json")

    delete_manifest(repository=repository, digest=index, cause=BY_SYSTEM)

    (plan,) = policy.at(Moment.DELETE)
    assert isinstance(plan, DeletePlan)
    assert set(plan.artifacts.values()) == {index, signature}
    assert {plan.artifacts[number] for number in plan.accessories} == {signature}
    assert plan.tags == {"multi": index, "latest": index}
    assert plan.children == (child,)
    assert plan.cause == BY_SYSTEM


def test_a_project_is_asked_about_before_it_goes(project: Project, policy: Recorder) -> None:
    policy.refused = frozenset({Moment.DELETE})
    with pytest.raises(Refused):
        delete_project(project=project, cause=BY_SYSTEM)
    policy.refused = frozenset()
    delete_project(project=project, cause=BY_SYSTEM)
    plans = policy.at(Moment.DELETE)
    assert [(plan.whole, plan.repository) for plan in plans if isinstance(plan, DeletePlan)] == [("project", None)] * 2


def test_a_repository_of_ten_thousand_artifacts_is_evaluated_once(repository: RepositoryRef, policy: Recorder) -> None:
    put(repository, "v1")
    other = make_repository(repository.project, RepositoryName("governed", "few"))
    put(other, "v1")
    few = _statements_to_delete(other, 2)
    policy.asked.clear()
    many = _statements_to_delete(repository, 10_000)
    (plan,) = policy.at(Moment.DELETE)
    assert isinstance(plan, DeletePlan)
    assert (len(plan.artifacts), len(plan.tags)) == (10_001, 10_001)
    assert many == few


def _statements_to_delete(repository: RepositoryRef, artifacts: int) -> int:
    """How many statements it takes to delete a repository with so many artifacts more."""
    manifest_id = Artifact.objects.earliest("pk").manifest_id
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH made AS (
                INSERT INTO content_artifact (repository_id, manifest_id, digest, media_type, artifact_type, size_bytes,
                                              pull_count)
                SELECT %s, %s, decode('01' || md5(i::text) || md5('x' || i), 'hex'), 'a/b', '', 1, 0
                FROM generate_series(1, %s) AS i RETURNING id
            )
            INSERT INTO content_tag (repository_id, name, artifact_id) SELECT %s, 't' || id, id FROM made
            """,
            [repository.id, manifest_id, artifacts, repository.id],
        )
    with CaptureQueriesContext(connection) as statements:
        delete_repository(repository=repository, cause=BY_SYSTEM)
    return len(statements)


def test_a_refused_upload_does_not_begin(repository: RepositoryRef, policy: Recorder) -> None:
    policy.refused = frozenset({Moment.UPLOAD})
    digest = Digest.of(b"content")

    with pytest.raises(Refused):
        start_upload(repository=repository, cause=BY_SYSTEM, digest=digest, size_bytes=7)

    asked = [context for context in policy.asked if isinstance(context, UploadContext)]
    assert [(context.cause, context.digest, context.size_bytes) for context in asked] == [(BY_SYSTEM, digest, 7)]


@pytest.mark.parametrize("moment", [Moment.CREATE, Moment.PUT])
def test_a_refused_first_push_makes_no_repository(project: Project, policy: Recorder, moment: Moment) -> None:
    policy.refused = frozenset({moment})
    name = RepositoryName("governed", "new")

    def ask(repository: RepositoryRef) -> None:
        policy.check(PutContext(BY_SYSTEM, repository, EMPTY_CONTENT, ()))

    with pytest.raises(Refused):
        ensure_repository(project=project_ref(project), name=name, cause=BY_SYSTEM, ask_for_content=ask)
    assert not Repository.objects.exists()
    policy.refused = frozenset()
    made = ensure_repository(project=project_ref(project), name=name, cause=BY_SYSTEM, ask_for_content=ask)
    assert policy.at(Moment.CREATE)[-1].project == made.project
    assert Repository.objects.get().pk == made.id


EMPTY_CONTENT: Any = None


def test_a_policy_applies_where_the_project_says_so_and_is_not_asked_elsewhere(project: Project) -> None:
    with registered(Recorder()) as policy:
        other = project_ref(create_project(name="free", is_public=False, cause=BY_SYSTEM))
        with policies_changing(project=project_ref(project), cause=BY_SYSTEM, add=["recorder", "another"]):
            """What the policy goes by would be written here."""
        project.refresh_from_db()
        assert project.policies == ["another", "recorder"]
        for each in (project_ref(project), other):
            push(make_repository(each, RepositoryName(each.name, "app")), "v1")
        assert {context.project.name for context in policy.asked} == {"governed"}
        with policies_changing(project=project_ref(project), cause=BY_SYSTEM, remove=["recorder", "none"]):
            """And here."""
        project.refresh_from_db()
        assert project.policies == ["another"]
    event = Event.objects.filter(kind="project.policies.changed").latest("pk")
    assert event.changed == [f"project:{project.pk}", "name:governed"]


def test_two_policies_cannot_have_one_name(policy: Recorder) -> None:
    with pytest.raises(ValueError, match="another name"):
        policies.register(Recorder())


class _Immutable(Policy):
    """Protects one artifact."""

    name = "immutable"
    moments = frozenset({Moment.DELETE})

    def __init__(self, digest: Digest) -> None:
        self.digest = digest

    def concerns(self, project: Any) -> bool:
        return True

    def check(self, context: Context) -> None:
        if isinstance(context, DeletePlan) and self.digest in context.artifacts.values():
            raise Protected("the artifact is immutable: change the rule first")


def test_a_policy_that_holds_one_artifact_holds_the_repository(
    sysadmin: Api,  # noqa: F811 the fixture
    repository: RepositoryRef,
) -> None:
    put(repository, "v1")
    rule = _Immutable(put(repository, "v2"))
    policies.register(rule)
    try:
        refused = sysadmin.delete("/projects/governed/repositories/app")
    finally:
        policies.unregister(rule)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (412, "PRECONDITION")
    assert Artifact.objects.filter(deleted_at=None).count() == 2


def test_refusals_are_in_the_audit_log_the_first_by_itself_and_the_others_in_sum(
    sysadmin: Api,  # noqa: F811 the fixture
    repository: RepositoryRef,
    policy: Recorder,
) -> None:
    policy.refused = frozenset({Moment.PUT})
    for _ in range(3):
        with pytest.raises(Refused):
            push(repository, "v1")
    assert not Event.objects.filter(kind="policy.refused").exists()
    repeated.flush_due()
    refusals.flush()

    first, others = Event.objects.filter(kind="policy.refused").order_by("pk")
    assert (first.project_id, first.repository_id) == (repository.project.id, repository.id)
    assert first.payload == {
        "policy": "recorder",
        "moment": "put",
        "reason": "client",
        "digest": str(EMPTY.digest),
        "tag": "v1",
    }
    assert (first.client, first.request_id, first.result) == ("192.0.2.1", "request-of-a-test", "failure")
    assert others.payload["times"] == 2
    relay()
    write_entries()
    entry = AuditEntry.objects.filter(resource_type="policy").earliest("pk")
    assert (entry.operation, entry.is_success, entry.resource) == ("refuse", False, "governed/app:v1")
    assert "put refused by the policy recorder" in entry.description
    assert entry.description.endswith("at the address 192.0.2.1; request request-of-a-test")
    listed = sysadmin.get("/projects/governed/auditlog-exts?q=resource_type=policy").json()
    assert len(listed) == 2


def test_a_new_tag_of_an_artifact_is_described(repository: RepositoryRef, policy: Recorder) -> None:
    digest = put(repository)
    create_tag(repository=repository, tag="v1", digest=digest, cause=BY_SYSTEM)
    (move,) = policy.at(Moment.TAG)
    assert isinstance(move, TagContext)
    artifact = Artifact.objects.get()
    assert move.content.size_bytes == artifact.size_bytes
    assert (move.tag, move.old, move.content.artifact_id) == ("v1", None, artifact.pk)
    policy.refused = frozenset({Moment.TAG})
    with pytest.raises(Refused):
        create_tag(repository=repository, tag=secrets.token_hex(3), digest=digest, cause=BY_SYSTEM)
    assert Tag.objects.count() == 1
