"""`/robots`, the older addresses of a project's robots, and `/permissions` by REST."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from projects.services import create_project
from rbac.models import Robot, RobotPermission, Role, User
from rbac.services.robots import RobotGrant, create_robot, full_name
from registry_core.content.models import Project
from registry_core.settings_store.changes import change
from tests.api.conftest import PASSWORD, Api, api_as
from tests.support.operations import BY_SYSTEM

DAY_S = 86_400


def place(kind: str, namespace: str, *rights: str) -> dict[str, Any]:
    """Permissions as the API writes them; rights as `repository pull`."""
    access = [dict(zip(("resource", "action", "effect"), (*right.split(), "allow"), strict=False)) for right in rights]
    return {"kind": kind, "namespace": namespace, "access": access}


PULLS = place("project", "fleet", "repository pull")
OF_PROJECT = {"name": "ci", "level": "project", "duration": -1, "permissions": [PULLS]}
OF_SYSTEM = {
    "name": "ops", "level": "system", "duration": 30,
    "permissions": [place("system", "/", "user list"), place("project", "*", "repository pull"), PULLS],
}  # fmt: skip


@pytest.fixture
def admin(member: Callable[[Project, Role], Api], project: Project) -> Api:
    return member(project, Role.PROJECT_ADMIN)


def make(api: Api, body: dict[str, Any]) -> dict[str, Any]:
    made = api.post("/robots", body)
    assert made.status_code == 201, made.content
    assert made["Location"] == f"/api/v2.0/robots/{made.json()['id']}"
    return dict(made.json())


def test_a_robot_is_shown_as_it_was_made_and_its_secret_never_again(sysadmin: Api, project: Project) -> None:
    made = make(sysadmin, OF_SYSTEM | {"description": "for ops"})
    assert api_as(made["name"], made["secret"]).get("/users").status_code == 200
    shown = sysadmin.get(f"/robots/{made['id']}").json()
    assert (shown["name"], shown["level"], shown["duration"]) == ("robot$ops", "system", 30)
    assert abs(shown["expires_at"] - time.time() - 30 * DAY_S) < 60
    assert shown["permissions"] == OF_SYSTEM["permissions"]
    assert (shown["disable"], shown["editable"], shown["creator_type"]) == (False, True, "local")
    assert shown["creator_ref"] == User.objects.get(username="root-admin").pk
    assert "secret" not in shown


def test_an_administrator_of_a_project_makes_robots_there_and_nowhere_else(admin: Api, project: Project) -> None:
    create_project(name="other", is_public=False, cause=BY_SYSTEM)
    made = make(admin, OF_PROJECT)
    assert (made["name"], made["expires_at"]) == ("robot$fleet+ci", -1)
    refused = [
        OF_PROJECT | {"name": "x", "permissions": [place("project", "other", "repository pull")]},
        OF_PROJECT | {"name": "x", "permissions": [place("project", "nothing", "repository pull")]},
        OF_SYSTEM,
    ]
    assert [admin.post("/robots", body).status_code for body in refused] == [403, 403, 403]
    assert admin.post("/robots", OF_PROJECT).status_code == 409


@pytest.mark.parametrize(
    "wrong",
    [{"permissions": []}, {"level": "x"}, {"name": "Upper"}, {"duration": -2}, {"duration": 2**62}, {"secret": "weak"},
     {"permissions": [PULLS, place("project", "*", "repository pull")]}, {"description": "d" * 1025},
     {"permissions": [place("project", "fleet", "user list")]}, {"permissions": [place("system", "fleet", "a b")]},
     {"permissions": [place("project", "fleet", "repository pull maybe")]}, {"description": "\x00"},
     {"permissions": [place("project", "fleet", "repository pull", "repository pull deny")]},
     {"permissions": [place("project", "fleet")]}]
)  # fmt: skip
def test_what_a_robot_cannot_be_is_refused(sysadmin: Api, project: Project, wrong: dict[str, Any]) -> None:
    assert sysadmin.post("/robots", OF_PROJECT | wrong).status_code == 400
    assert not Robot.objects.exists()


def test_a_robot_of_no_level_or_without_permissions_is_told_which(sysadmin: Api, project: Project) -> None:
    wrong: list[dict[str, Any]] = [{"level": "x"}, {"permissions": []}]
    said = [sysadmin.post("/robots", OF_PROJECT | body).text for body in wrong]
    assert "level is project or system" in said[0]
    assert "name that one project as their namespace" in said[1]


def test_a_robot_of_the_system_names_projects_that_are_there(sysadmin: Api, project: Project) -> None:
    wrong = OF_SYSTEM | {"permissions": [place("project", "nothing", "repository pull")]}
    assert sysadmin.post("/robots", wrong).status_code == 404


def test_robots_are_listed_by_level_and_project(sysadmin: Api, admin: Api, project: Project) -> None:
    make(sysadmin, OF_SYSTEM)
    for name in ("ci", "cd", "deploy"):
        make(admin, OF_PROJECT | {"name": name})

    def names(api: Api, query: str = "") -> list[str]:
        return [robot["name"].partition("$")[2] for robot in api.get(f"/robots{query}").json()]

    of_project = f"?q=Level=project,ProjectID={project.pk}"
    assert names(sysadmin) == names(sysadmin, "?q=Level=system") == ["ops"]
    assert names(admin, f"{of_project}&sort=name") == ["fleet+cd", "fleet+ci", "fleet+deploy"]
    assert names(admin, f"{of_project},name=~c&sort=-name") == ["fleet+ci", "fleet+cd"]
    assert names(admin, f"{of_project},name=robot$fleet%2Bci") == ["fleet+ci"]
    assert names(admin, f"?q=Level%253Dproject%252CProjectID%253D{project.pk}%252Cname%253Dcd") == ["fleet+cd"]
    assert admin.get("/robots").status_code == 403
    assert sysadmin.get("/robots?q=Level=project").status_code == 400
    assert sysadmin.get("/robots?q=Level=project,ProjectID=987654").status_code == 404
    assert sysadmin.get("/robots?q=Level=other").status_code == 400
    assert sysadmin.get("/robots?q=secret_hash=~a").status_code == 400


def test_a_robot_becomes_what_is_sent_but_keeps_duration_and_permissions_that_are_not_named(
    admin: Api, project: Project
) -> None:
    made = make(admin, OF_PROJECT)
    path, robot = f"/robots/{made['id']}", api_as(made["name"], made["secret"])
    shown = admin.get(path).json()
    pushes = place("project", "fleet", "repository pull", "repository push")
    assert admin.put(path, shown | {"description": "new", "permissions": [pushes]}).status_code == 200
    assert admin.put(path, {"duration": 7, "description": "new"}).status_code == 200
    changed = admin.get(path).json()
    assert (changed["description"], changed["permissions"], changed["duration"]) == ("new", [pushes], 7)
    assert robot.get("/projects/fleet/robots").status_code == 403
    assert robot.get("/permissions").status_code == 403
    assert admin.put(path, {"disable": True}).status_code == 200
    assert robot.get("/permissions").status_code == 401
    assert (admin.get(path).json()["disable"], "description" in admin.get(path).json()) == (True, False)
    assert admin.put(path, {"permissions": []}).status_code == 200
    left = admin.get(path).json()
    assert (left["disable"], left["permissions"], left["duration"]) == (False, [pushes], 7)
    assert admin.put(path, {"name": "other"}).status_code == 400
    assert admin.put(path, {"level": "system"}).status_code == 400
    assert admin.put(path, {"permissions": [place("system", "/", "user list")]}).status_code == 400
    assert admin.get(path).json()["permissions"] == [pushes]


def test_a_new_secret_makes_the_old_one_worthless(admin: Api, project: Project) -> None:
    made = make(admin, OF_PROJECT)
    path = f"/robots/{made['id']}"
    renewed = admin.patch(path, {"secret": ""}).json()["secret"]
    assert api_as(made["name"], made["secret"]).get("/permissions").status_code == 401
    assert api_as(made["name"], renewed).get("/permissions").status_code == 403
    assert admin.patch(path, {"secret": "weak"}).status_code == 400
    assert admin.patch(path, {"secret": "Chosen-1-secret"}).status_code == 200
    assert api_as(made["name"], "Chosen-1-secret").get("/permissions").status_code == 403


def test_a_deleted_robot_is_gone_and_the_name_free(admin: Api, sysadmin: Api, project: Project) -> None:
    made = make(admin, OF_PROJECT)
    path = f"/robots/{made['id']}"
    assert admin.delete(path).status_code == 200
    assert (admin.delete(path).status_code, sysadmin.get(path).status_code) == (403, 404)
    make(admin, OF_PROJECT)


def test_robots_of_others_look_as_if_they_were_not_there(
    admin: Api, user: Api, sysadmin: Api, project: Project
) -> None:
    made, of_system = make(admin, OF_PROJECT), make(sysadmin, OF_SYSTEM)
    answers = {user.get(f"/robots/{key}").content for key in (made["id"], of_system["id"], 987654)}
    assert len(answers) == 1
    assert user.get(f"/robots/{made['id']}").status_code == 403
    assert admin.patch(f"/robots/{of_system['id']}", {}).status_code == 403


def test_a_robot_makes_no_robot_that_may_more_than_itself(project: Project) -> None:
    grants = [
        RobotGrant(RobotPermission.Kind.PROJECT, resource, action, project.pk)
        for resource, action in (("robot", "create"), ("robot", "read"), ("repository", "pull"))
    ]
    maker, secret = create_robot(name="maker", grants=grants, cause=BY_SYSTEM, project=project)
    robot = api_as(full_name(maker), secret)
    made = make(robot, OF_PROJECT)
    assert robot.get(f"/robots/{made['id']}").json()["creator_type"] == "robot"
    more = OF_PROJECT | {"name": "more", "permissions": [place("project", "fleet", "repository push")]}
    assert robot.post("/robots", more).status_code == 403
    assert robot.put(f"/robots/{maker.pk}", {"permissions": [PULLS]}).status_code == 403
    assert robot.post("/robots", OF_SYSTEM).status_code == 403


def test_the_older_addresses_make_list_change_and_delete_robots_of_the_project(
    sysadmin: Api, admin: Api, project: Project
) -> None:
    other = create_project(name="other", is_public=False, cause=BY_SYSTEM)
    access = [{"resource": f"/project/{project.pk}/repository", "action": "pull"}]
    expires_at = int(time.time()) + 90 * DAY_S
    made = admin.post("/projects/fleet/robots", {"name": "old", "expires_at": expires_at, "access": access})
    assert made.status_code == 201
    path = made["Location"].removeprefix("/api/v2.0")
    shown = admin.get(path).json()
    assert (shown["name"], shown["expires_at"], shown["permissions"]) == ("robot$fleet+old", expires_at, [PULLS])
    assert admin.put(path, shown | {"disable": True}).status_code == 200
    assert (admin.get(path).json()["disable"], admin.get(path).json()["expires_at"]) == (True, expires_at)
    assert [robot["id"] for robot in admin.get("/projects/fleet/robots").json()] == [shown["id"]]
    assert sysadmin.get(f"/projects/{other.pk}/robots/{shown['id']}").status_code == 404
    assert sysadmin.delete(f"/projects/{other.pk}/robots/{shown['id']}").status_code == 404
    past = {"name": "past", "expires_at": 5, "access": access}
    assert admin.post("/projects/fleet/robots", past).status_code == 400
    assert admin.delete(path).status_code == 200
    assert admin.get(path).status_code == 404


def test_prefix_and_usual_life_are_settings_and_the_prefix_decides_nothing(
    sysadmin: Api, project: Project, make_user: Callable[..., User]
) -> None:
    change(values={"robot_name_prefix": "bot-", "robot_token_duration": 5}, cause=BY_SYSTEM)
    make_user("bot-anna")
    make_user("bot-ops", is_sysadmin=True)
    made = make(sysadmin, OF_SYSTEM | {"duration": 0})
    assert (made["name"], sysadmin.get(f"/robots/{made['id']}").json()["duration"]) == ("bot-ops", 5)
    assert api_as("bot-ops", made["secret"]).get("/users/current").status_code == 412
    assert api_as("bot-anna", PASSWORD).get("/users/current").json()["username"] == "bot-anna"
    assert api_as("bot-ops", PASSWORD).get("/users/current").json()["sysadmin_flag"] is True
    assert api_as("robot$ops", made["secret"]).get("/users").status_code == 401
    assert api_as("bot-ops", "Wrong-1-word").get("/users").status_code == 401


def test_what_robots_can_be_given_is_told_to_those_who_make_them(
    sysadmin: Api, admin: Api, user: Api, anonymous: Api
) -> None:
    everything, of_projects = sysadmin.get("/permissions").json(), admin.get("/permissions").json()
    assert {"resource": "user", "action": "list"} in everything["system"]
    assert of_projects == {"system": [], "project": everything["project"]}
    assert (user.get("/permissions").status_code, anonymous.get("/permissions").status_code) == (403, 401)


@pytest.mark.parametrize("q", ["Level=project,ProjectID=", "ProjectID=", "Level=project"])
def test_a_list_that_names_no_project_is_refused_and_does_not_show_the_system_s(sysadmin: Api, q: str) -> None:
    refused = sysadmin.get(f"/robots?q={q}")
    assert refused.status_code == 400, refused.content


def test_a_project_that_does_not_exist_is_named_to_an_administrator(sysadmin: Api) -> None:
    missing = sysadmin.get("/robots?q=Level=project,ProjectID=999999")
    assert (missing.status_code, "999999" in missing.content.decode()) == (404, True)
