"""`/projects` by REST."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.http import HttpRequest
from rest_framework.request import Request

from projects.api.projects import ProjectView
from projects.services import create_project, delete_project
from rbac.models import Role, User
from registry_core.access import Subject, SubjectKind
from registry_core.api.permissions import admit
from registry_core.content.models import Project
from registry_core.errors import NotFound
from tests.api.conftest import Api, api_as
from tests.support.operations import BY_SYSTEM


@pytest.fixture
def private(db: None) -> Project:
    return create_project(name="private", is_public=False, cause=BY_SYSTEM)


def test_the_creator_of_a_project_is_its_administrator(user: Api) -> None:
    made = user.post("/projects", {"project_name": "mine", "metadata": {"public": "false", "severity": "high"}})
    assert (made.status_code, made.content) == (201, b"")
    project = user.get(made["Location"].removeprefix("/api/v2.0")).json()
    assert (project["name"], project["owner_name"], project["repo_count"]) == ("mine", "somebody", 0)
    assert project["metadata"] == {"public": "false", "severity": "high"}
    assert project["current_user_role_ids"] == [Role.PROJECT_ADMIN]


def test_a_name_is_a_name_where_the_header_says_so(sysadmin: Api, private: Project) -> None:
    sysadmin.post("/projects", {"project_name": str(private.pk)})
    assert sysadmin.get(f"/projects/{private.pk}").json()["name"] == "private"
    named = sysadmin.get(f"/projects/{private.pk}", **{"X-Is-Resource-Name": "true"})
    assert named.json()["name"] == str(private.pk)


def test_what_one_may_not_see_looks_as_if_it_were_not_there(
    sysadmin: Api, user: Api, anonymous: Api, private: Project
) -> None:
    for path in ("/projects/private", "/projects/nothing"):
        assert anonymous.get(path).status_code == 401
        assert user.get(path).status_code == 403
    assert user.get("/projects/private").content == user.get("/projects/nothing").content
    for path in ("/projects/nothing", "/projects/nothing/repositories"):
        missing = sysadmin.get(path)
        assert (missing.status_code, missing.json()["errors"][0]["message"]) == (404, "there is no project nothing")
    assert user.get("/projects?name=priv").json() == []


@pytest.mark.parametrize(("name", "status"), [("Upper", 400), ("a" * 256, 400), ("", 400), ("a--b", 400), ("ok", 201)])
def test_only_names_that_can_be_pulled_by_are_taken(user: Api, name: str, status: int) -> None:
    assert user.post("/projects", {"project_name": name}).status_code == status


def test_the_same_name_twice_is_a_conflict(user: Api, private: Project) -> None:
    refused = user.post("/projects", {"project_name": "private"})
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (409, "CONFLICT")


def test_a_list_says_how_many_there_are_and_where_the_next_page_is(sysadmin: Api) -> None:
    for number in range(5):
        create_project(name=f"p{number}", is_public=number % 2 == 0, cause=BY_SYSTEM)
    first = sysadmin.get("/projects?page_size=2&q=name=~p")
    assert first["X-Total-Count"] == "5"
    assert first["Link"].endswith('; rel="next"')
    following = sysadmin.get(first["Link"].partition(">")[0].removeprefix("</api/v2.0"))
    assert [project["name"] for project in following.json()] == ["p2", "p3"]
    assert [p["name"] for p in sysadmin.get("/projects?public=true&sort=-name&q=name=~p").json()] == ["p4", "p2", "p0"]


@pytest.mark.parametrize(
    "query", ["q=password=x", "q=settings__owner__password__startswith=a", "sort=password",
              "q=name", "q=public=maybe", "public=maybe", "q=project_id=[1~x]", "cursor=x", "name=%00"]
)  # fmt: skip
def test_what_a_list_cannot_be_asked_is_refused_with_the_reason(sysadmin: Api, query: str) -> None:
    refused = sysadmin.get(f"/projects?{query}")
    assert refused.status_code == 400, refused.content
    assert refused.json()["errors"][0]["message"]


def test_changing_metadata_leaves_the_others_as_they_are(sysadmin: Api, private: Project) -> None:
    assert sysadmin.put("/projects/private", {"metadata": {"auto_scan": "true"}}).status_code == 200
    sysadmin.put(
        "/projects/private", {"metadata": {"public": "true"}, "cve_allowlist": {"items": [{"cve_id": "CVE-1"}]}}
    )
    project = sysadmin.get("/projects/private").json()
    assert project["metadata"] == {"public": "true", "auto_scan": "true"}
    assert project["cve_allowlist"]["items"] == [{"cve_id": "CVE-1"}]
    wrong = sysadmin.put("/projects/private", {"metadata": {"severity": "terrible"}})
    assert (wrong.status_code, "severity must be one of" in wrong.json()["errors"][0]["message"]) == (400, True)


def test_a_deleted_project_frees_its_name(sysadmin: Api, private: Project) -> None:
    assert sysadmin.get("/projects/private/_deletable").json() == {"deletable": True, "message": ""}
    assert sysadmin.delete("/projects/private").status_code == 200
    assert sysadmin.get("/projects/private").status_code == 404
    assert sysadmin.post("/projects", {"project_name": "private"}).status_code == 201


@pytest.mark.usefixtures("sysadmin")
def test_a_project_that_goes_away_just_now_is_gone_for_an_administrator(private: Project) -> None:
    administrator = Subject(SubjectKind.USER, User.objects.get(username="root-admin").pk, "root-admin")
    view = ProjectView()
    view.kwargs = {"project_name_or_id": "private"}
    view.request = Request(HttpRequest())
    assert view.found_project is not None
    delete_project(project=private, cause=BY_SYSTEM)
    with pytest.raises(NotFound):
        admit(administrator, ProjectView.access["DELETE"], view)


def test_a_guest_may_look_and_not_change(member: Callable[[Project, Role], Api], private: Project) -> None:
    guest = member(private, Role.GUEST)
    assert guest.get("/projects/private").status_code == 200
    assert guest.put("/projects/private", {"metadata": {"public": "true"}}).status_code == 403
    assert guest.delete("/projects/private").status_code == 403


@pytest.mark.parametrize(
    "body", ["{", "[]", '"x"', '{"project_name": 5}', '{"metadata": []}', '{"project_name": "a\\u0000"}']
)
def test_a_body_that_is_not_what_is_expected_is_refused(user: Api, body: str) -> None:
    assert user.post("/projects", body).status_code == 400


def test_wrong_credentials_are_refused_also_where_none_are_needed(db: None) -> None:
    refused = api_as("somebody", "Wrong-pass1").get("/projects")
    assert (refused.status_code, refused["WWW-Authenticate"]) == (401, 'Basic realm="portolan"')
