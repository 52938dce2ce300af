"""`…/trash` by REST: what was deleted is listed, restored exactly, and purged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from projects.services import create_project, delete_project, set_public
from rbac.models import Role
from registry_core.content import installation, quota, quota_audit
from registry_core.content.models import Artifact, Blob, Deletion, Project, Repository, RepositoryBlob, Tag
from registry_core.content.policy_contexts import Moment, RestoreContext
from registry_core.content.repositories import RepositoryRef
from registry_core.content.tags import create_tag
from registry_core.digests import Digest
from registry_core.storage.stores import default_store
from tests.api.conftest import Api
from tests.api.content import put, put_about, put_index, repository_of
from tests.policies.recorder import Recorder, registered
from tests.storage.test_sweeping import Configure, configure  # noqa: F401 a fixture
from tests.support.operations import BY_SYSTEM

TRASH = "/projects/fleet/trash"
APP = "/projects/fleet/repositories/app"


def trash(api: Api) -> list[dict[str, Any]]:
    answer = api.get(TRASH)
    assert answer.status_code == 200, answer.content
    found: list[dict[str, Any]] = answer.json()
    return found


def restore(api: Api, deletion: int) -> Any:
    return api.post(f"{TRASH}/{deletion}/restore")


def message(answer: Any) -> str:
    return str(answer.json()["errors"][0]["message"])


def state_of(project: Project) -> dict[str, Any]:
    """What the project has, without what only tells that something was restored."""
    repositories = Repository.objects.filter(project=project, deleted_at=None)
    artifacts = Artifact.objects.filter(repository__project=project, deleted_at=None)
    tags = Tag.objects.filter(repository__project=project, deleted_at=None)
    return {
        "repositories": sorted(repositories.values_list("name", "description", "pull_count")),
        "artifacts": sorted(artifacts.values_list("pk", "media_type", "pushed_at", "pulled_at")),
        "tags": sorted(tags.values_list("name", "artifact_id", "pushed_at")),
        "links": sorted(RepositoryBlob.objects.filter(repository__project=project).values_list("repository", "blob")),
        "charged": quota.charged_bytes(project.pk),
    }


def test_a_deleted_artifact_comes_back_with_its_tags_and_accessories(
    sysadmin: Api, project: Project, repository: RepositoryRef
) -> None:
    subject = put(repository, "v1", "v2")
    put_about(repository, subject, "application/vnd.example.signature")
    create_tag(repository=repository, tag="v3", digest=subject, cause=BY_SYSTEM)
    before = state_of(project)
    assert sysadmin.delete(f"{APP}/artifacts/v1").status_code == 200
    assert sysadmin.get(f"{APP}/artifacts/v1").status_code == 404

    (entry,) = trash(sysadmin)
    assert (entry["kind"], entry["name"], entry["repository"]) == ("artifact", str(subject), "app")
    assert (entry["artifacts"], entry["tags"]) == (2, ["v1", "v2", "v3"])
    answer = restore(sysadmin, entry["id"])
    assert (answer.status_code, answer.json()["artifacts"], answer.json()["tags"]) == (200, 2, ["v1", "v2", "v3"])
    assert state_of(project) == before
    assert quota_audit.audit(project.pk).is_exact
    assert (trash(sysadmin), Deletion.objects.count()) == ([], 0)
    assert restore(sysadmin, entry["id"]).status_code == 404


def test_a_deleted_tag_comes_back_and_its_history_goes_on(
    sysadmin: Api, project: Project, repository: RepositoryRef
) -> None:
    put(repository, "v1", "latest")
    before = state_of(project)
    assert sysadmin.delete(f"{APP}/artifacts/v1/tags/latest").status_code == 200
    (entry,) = trash(sysadmin)
    assert (entry["kind"], entry["name"], entry["tags"], entry["artifacts"]) == ("tag", "latest", ["latest"], 0)
    assert restore(sysadmin, entry["id"]).status_code == 200
    assert state_of(project) == before
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reason, old_digest IS NULL, new_digest IS NULL FROM content_taghistory WHERE tag = 'latest' "
            "ORDER BY at"
        )
        assert cursor.fetchall() == [("client", True, False), ("client", False, True), ("restore", True, False)]


def test_a_deleted_repository_comes_back_whole_but_without_what_was_deleted_before(
    sysadmin: Api, project: Project, repository: RepositoryRef
) -> None:
    first = put(repository, "v1")
    put_index(repository, [first, put(repository)], "multi")
    put(repository, "gone before")
    assert sysadmin.put(APP, {"description": "the ship"}).status_code == 200
    assert sysadmin.delete(f"{APP}/artifacts/{_digest_of('gone before')}").status_code == 200
    before = state_of(project)
    assert sysadmin.delete(APP).status_code == 200
    assert sysadmin.get(APP).status_code == 404

    entries = trash(sysadmin)
    assert [entry["kind"] for entry in entries] == ["repository", "artifact"]
    refused = restore(sysadmin, entries[1]["id"])
    assert (refused.status_code, "repository fleet/app is deleted itself" in message(refused)) == (412, True)
    assert restore(sysadmin, entries[0]["id"]).json()["artifacts"] == 3
    assert state_of(project) == before
    assert sysadmin.get(APP).status_code == 200
    assert restore(sysadmin, entries[1]["id"]).status_code == 200
    assert quota_audit.audit(project.pk).is_exact


def _digest_of(tag: str) -> Digest:
    return Digest(bytes(Artifact.objects.get(tags__name=tag).digest))


def test_names_that_are_in_use_again_are_a_conflict_that_is_explained(
    sysadmin: Api, project: Project, repository: RepositoryRef
) -> None:
    config = b'{"architecture":"amd64"}'
    put(repository, "v1", config=config)
    sysadmin.delete(f"{APP}/artifacts/v1")
    put(repository, "v1")
    (entry,) = trash(sysadmin)
    answer = restore(sysadmin, entry["id"])
    assert (answer.status_code, message(answer)) == (
        409,
        "the tag v1 of fleet/app is in use again: delete or move it first",
    )
    sysadmin.delete(f"{APP}/artifacts/v1/tags/v1")
    put(repository, "other", config=config)
    answer = restore(sysadmin, entry["id"])
    assert (answer.status_code, "was pushed to fleet/app again" in message(answer)) == (409, True)
    sysadmin.delete(APP)
    repository_of(project, "app")
    (deleted, *_) = trash(sysadmin)
    answer = restore(sysadmin, deleted["id"])
    assert (answer.status_code, "there is a repository fleet/app again" in message(answer)) == (409, True)


def test_a_tag_waits_for_its_artifact_and_an_index_for_what_it_lists(sysadmin: Api, repository: RepositoryRef) -> None:
    child = put(repository, "child", "also")
    parent = put_index(repository, [child], "multi")
    sysadmin.delete(f"{APP}/artifacts/child/tags/also")
    sysadmin.delete(f"{APP}/artifacts/{parent}")
    sysadmin.delete(f"{APP}/artifacts/{child}")
    of_child, of_index, of_tag = (entry["id"] for entry in trash(sysadmin))
    for number, reason in ((of_tag, "of the tag also is deleted itself"), (of_index, f"the index lists {child}")):
        answer = restore(sysadmin, number)
        assert (answer.status_code, reason in message(answer)) == (412, True)
    for number in (of_child, of_tag, of_index):
        assert restore(sysadmin, number).status_code == 200
    tags = sysadmin.get(f"{APP}/artifacts/{child}/tags").json()
    assert sorted(tag["name"] for tag in tags) == ["also", "child"]


def test_a_restore_is_charged_and_refused_beyond_the_quota(
    sysadmin: Api, project: Project, repository: RepositoryRef
) -> None:
    put(repository, "v1", layers=(("application/octet-stream", b"x" * 5000),))
    sysadmin.delete(f"{APP}/artifacts/v1")
    used = quota.charged_bytes(project.pk)
    Project.objects.filter(pk=project.pk).update(storage_limit_bytes=used + 4000)
    quota.set_limit(project_id=project.pk, limit_bytes=used + 4000)
    (entry,) = trash(sysadmin)
    answer = restore(sysadmin, entry["id"])
    assert (answer.status_code, "storage quota" in message(answer)) == (403, True)
    assert quota.charged_bytes(project.pk) == used
    quota.set_limit(project_id=project.pk, limit_bytes=used + 9000)
    assert restore(sysadmin, entry["id"]).status_code == 200
    assert quota_audit.audit(project.pk).is_exact


def test_a_deleted_project_comes_back_with_its_members(
    sysadmin: Api, project: Project, repository: RepositoryRef
) -> None:
    put(repository, "v1")
    set_public(project=project, is_public=True, cause=BY_SYSTEM)
    assert sysadmin.delete(APP).status_code == 200
    assert sysadmin.delete("/projects/fleet").status_code == 200
    assert sysadmin.get(TRASH).status_code == 404
    (entry,) = sysadmin.get("/trash/projects").json()
    assert (entry["kind"], entry["name"], entry["repository"]) == ("project", "fleet", "")
    other = create_project(name="fleet", is_public=False, cause=BY_SYSTEM)
    answer = sysadmin.post(f"/trash/projects/{entry['id']}/restore")
    assert (answer.status_code, message(answer)) == (409, "there is a project fleet again: delete it first")
    delete_project(project=other, cause=BY_SYSTEM)
    assert sysadmin.post(f"/trash/projects/{entry['id']}/restore").status_code == 200
    assert sysadmin.get("/projects/fleet").json()["metadata"]["public"] == "true"
    (of_repository,) = trash(sysadmin)
    assert restore(sysadmin, of_repository["id"]).status_code == 200
    assert sysadmin.get(f"{APP}/artifacts/v1").status_code == 200


@pytest.fixture
def _own_store(db: None, tmp_path: Path, configure: Configure) -> None:  # noqa: F811 the fixture
    """A store that no other test has written to, so that it belongs to the database."""
    configure(data=tmp_path)
    installation.begin()


@pytest.mark.usefixtures("_own_store")
def test_a_leaked_secret_is_purged_at_once_and_the_audit_log_says_by_whom(
    sysadmin: Api, project: Project, repository: RepositoryRef
) -> None:
    secret, shared = b"password=hunter2", b"shared layer"
    put(repository, "kept", layers=(("application/octet-stream", shared),))
    layers = (("application/octet-stream", secret), ("application/octet-stream", shared))
    put(repository, "leak", layers=layers)
    key = Blob.objects.get(digest=Digest.of(secret).raw).storage_key
    sysadmin.delete(f"{APP}/artifacts/leak")
    (entry,) = trash(sysadmin)
    answer = sysadmin.delete(f"{TRASH}/{entry['id']}")
    assert answer.status_code == 200, answer.content
    purged = answer.json()
    assert (purged["artifacts"], purged["is_complete"], purged["kept_blobs"]) == (1, True, 1)
    assert default_store().size_bytes(key) is None
    assert not Blob.objects.filter(digest=Digest.of(secret).raw).exists()
    assert restore(sysadmin, entry["id"]).status_code == 404
    assert sysadmin.delete(f"{TRASH}/{entry['id']}").status_code == 404
    with connection.cursor() as cursor:
        cursor.execute("SELECT subject_kind, project_id FROM events_event WHERE kind = 'deletion.purged'")
        assert cursor.fetchall() == [(1, project.pk)]


@pytest.mark.usefixtures("_own_store")
def test_a_purged_project_takes_everything_with_it(sysadmin: Api, project: Project, repository: RepositoryRef) -> None:
    put(repository, "v1")
    put(repository_of(project, "other"), "v1")
    for name in ("app", "other"):
        sysadmin.delete(f"/projects/fleet/repositories/{name}")
    sysadmin.delete("/projects/fleet")
    (entry,) = sysadmin.get("/trash/projects").json()
    purged = sysadmin.delete(f"/trash/projects/{entry['id']}").json()
    assert (purged["artifacts"], purged["kept_blobs"]) == (2, 0)
    assert not Artifact.objects.exists()
    assert not Blob.objects.exists()


def test_expired_deletions_are_neither_listed_nor_restored(sysadmin: Api, repository: RepositoryRef) -> None:
    put(repository, "v1")
    sysadmin.delete(f"{APP}/artifacts/v1")
    (entry,) = trash(sysadmin)
    Deletion.objects.update(expires_at="2020-01-01T00:00Z")
    assert trash(sysadmin) == []
    assert restore(sysadmin, entry["id"]).status_code == 404


@pytest.mark.parametrize(
    ("role", "may_restore", "may_purge"),
    [(Role.DEVELOPER, False, False), (Role.MAINTAINER, True, False), (Role.PROJECT_ADMIN, True, True)],
)
def test_maintainers_restore_and_administrators_of_the_project_purge(
    sysadmin: Api,
    member: Callable[[Project, Role], Api],
    project: Project,
    repository: RepositoryRef,
    role: Role,
    may_restore: bool,
    may_purge: bool,
) -> None:
    for tag in ("v1", "v2"):
        put(repository, tag)
        sysadmin.delete(f"{APP}/artifacts/{tag}")
    caller = member(project, role)
    first, second = (entry["id"] for entry in trash(sysadmin))
    assert (caller.get(TRASH).status_code == 200) == may_restore
    assert (restore(caller, first).status_code == 200) == may_restore
    assert (caller.delete(f"{TRASH}/{second}").status_code == 200) == may_purge


def test_a_policy_is_asked_about_what_would_come_back(
    sysadmin: Api, project: Project, repository: RepositoryRef
) -> None:
    digest = put(repository, "v1")
    sysadmin.delete(f"{APP}/artifacts/v1")
    (entry,) = trash(sysadmin)
    with registered(Recorder("fleet", refused=[Moment.RESTORE])) as policy:
        answer = restore(sysadmin, entry["id"])
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, "DENIED")
        assert not Artifact.objects.filter(deleted_at=None).exists()
        (context,) = policy.asked
    assert isinstance(context, RestoreContext)
    assert (list(context.artifacts.values()), context.tags) == ([digest], {"v1": digest})
    assert len(trash(sysadmin)) == 1
