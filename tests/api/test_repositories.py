"""`/repositories` by REST."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import pytest

from projects.services import create_project
from rbac.models import Role
from registry_core.content import staged_quota
from registry_core.content.models import Artifact, Deletion, Project, RepositoryBlob, Tag
from registry_core.content.push_times import note_push_times
from registry_core.events.relay import relay
from tests.api.conftest import Api
from tests.api.content import put, put_about, put_blob, put_index, repository_of
from tests.support.operations import BY_SYSTEM


def test_a_repository_says_what_is_in_it(sysadmin: Api, project: Project) -> None:
    repository = repository_of(project, "team/app")
    subject = put(repository, "v1")
    put_about(repository, subject, "application/vnd.cncf.notary.signature")
    put_index(repository, [put(repository), put(repository)], "multi")
    (listed,) = sysadmin.get("/projects/fleet/repositories").json()
    assert (listed["name"], listed["artifact_count"], listed["pull_count"]) == ("fleet/team/app", 2, 0)
    assert listed["project_id"] == project.pk
    assert listed["update_time"] >= listed["creation_time"]


@pytest.mark.parametrize("name", [quote("team/app", safe=""), quote(quote("team/app", safe=""), safe=""), "team/app"])
def test_a_slash_in_a_name_comes_encoded_once_twice_or_not_at_all(sysadmin: Api, project: Project, name: str) -> None:
    put(repository_of(project, "team/app"), "v1")
    assert sysadmin.get(f"/projects/fleet/repositories/{name}").json()["name"] == "fleet/team/app"
    assert sysadmin.get(f"/projects/fleet/repositories/{name}/artifacts/v1").status_code == 200


def test_everybodys_list_shows_what_one_may_pull(user: Api, anonymous: Api, sysadmin: Api, project: Project) -> None:
    public = create_project(name="open", is_public=True, cause=BY_SYSTEM)
    repository_of(project, "hidden")
    repository_of(public, "shown")
    for caller in (user, anonymous):
        assert [repository["name"] for repository in caller.get("/repositories").json()] == ["open/shown"]
    assert sysadmin.get("/repositories")["X-Total-Count"] == "2"


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("name=~app", ["fleet/app", "fleet/team/app"]),
        ("name=~fleet/te", ["fleet/team/app"]),
        ("name=~eet/app", ["fleet/app"]),
        ("name=~fleet", ["fleet/app", "fleet/team/app"]),
        ("name=fleet/app", ["fleet/app"]),
        ("name=team/app", ["fleet/team/app"]),
        ("name={fleet/app other}", ["fleet/app"]),
        ("name=~%25", []),
    ],
)
def test_a_repository_is_found_by_its_full_name_or_a_part(
    sysadmin: Api, project: Project, q: str, found: list[str]
) -> None:
    for name in ("app", "team/app"):
        repository_of(project, name)
    for path in ("/repositories", "/projects/fleet/repositories"):
        assert [repository["name"] for repository in sysadmin.get(f"{path}?sort=name&q={q}").json()] == found


def test_the_list_is_sorted_by_what_was_asked(sysadmin: Api, project: Project) -> None:
    old, new = repository_of(project, "old"), repository_of(project, "new")
    put(new, "v1")
    put(old, "v1")
    relay()
    note_push_times()
    for path in ("/repositories", "/projects/fleet/repositories"):
        names = [repository["name"] for repository in sysadmin.get(f"{path}?sort=-update_time").json()]
        assert names == ["fleet/old", "fleet/new"]
    assert note_push_times() == 0, "a push is noted once"
    sysadmin.put("/projects/fleet/repositories/new", {"description": "Ships"})
    names = [repository["name"] for repository in sysadmin.get("/repositories?sort=-update_time").json()]
    assert names == ["fleet/new", "fleet/old"]
    assert sysadmin.get("/repositories?sort=secret").status_code == 400
    assert sysadmin.get("/repositories?q=changed_at=x").status_code == 400


def test_only_the_description_can_be_changed(sysadmin: Api, project: Project) -> None:
    repository_of(project, "app")
    changed = sysadmin.put(
        "/projects/fleet/repositories/app", {"description": "Ships", "name": "other", "pull_count": 9}
    )
    assert changed.status_code == 200
    repository = sysadmin.get("/projects/fleet/repositories/app").json()
    assert (repository["description"], repository["name"], repository["pull_count"]) == ("Ships", "fleet/app", 0)
    assert sysadmin.put("/projects/fleet/repositories/app", {"description": "a\u0000"}).status_code == 400


def test_a_deleted_repository_takes_everything_along_as_one_deletion(sysadmin: Api, project: Project) -> None:
    repository = repository_of(project, "app")
    subject = put(repository, "v1")
    put_about(repository, subject, "application/vnd.acme.report")
    put_index(repository, [subject], "multi")
    put_blob(repository, b"not used yet")
    assert sysadmin.delete("/projects/fleet/repositories/app").status_code == 200
    assert not Artifact.objects.filter(deleted_at=None).exists()
    assert not Tag.objects.filter(deleted_at=None).exists()
    assert Deletion.objects.count() == 1
    assert Artifact.objects.filter(deletion=Deletion.objects.get()).count() == 3
    assert not RepositoryBlob.objects.exists()
    assert staged_quota.used_bytes(project.pk) == 0
    assert sysadmin.delete("/projects/fleet/repositories/app").status_code == 404
    put(repository_of(project, "app"), "v1")
    assert sysadmin.get("/projects/fleet/repositories/app").json()["artifact_count"] == 1


def test_who_may_not_see_a_project_learns_nothing_of_its_repositories(
    user: Api, member: Callable[[Project, Role], Api], project: Project
) -> None:
    repository_of(project, "app")
    answers = [user.get(f"/projects/{name}/repositories/{path}") for name in ("fleet", "none") for path in ("app", "b")]
    assert {answer.status_code for answer in answers} == {403}
    assert len({answer.content for answer in answers}) == 1
    guest = member(project, Role.GUEST)
    assert guest.get("/projects/fleet/repositories/app").status_code == 200
    assert guest.get("/projects/fleet/repositories/none").status_code == 404
    assert guest.delete("/projects/fleet/repositories/app").status_code == 403
    assert guest.put("/projects/fleet/repositories/app", {"description": "x"}).status_code == 403
