"""What automation written for Harbor does with the API, beyond single requests: robots that manage projects, look-ups
by name, promotions that run again, projects named by numbers."""

from __future__ import annotations

from typing import Any

import pytest

from projects.audit.consumer import write_entries
from projects.bootstrap import ensure_library
from projects.models import ProjectSettings
from projects.services import create_project
from rbac.bootstrap import ensure_admin
from rbac.models import RobotPermission, User
from rbac.services.robots import RobotGrant, create_robot, full_name
from rbac.services.users import FIRST_ADMIN, delete_user
from registry_core.content.models import Project
from registry_core.digests import Digest
from registry_core.events.relay import relay
from registry_core.settings_store.changes import change
from tests.api.conftest import PASSWORD, Api, api_as
from tests.api.content import put, repository_of
from tests.support.operations import BY_SYSTEM, on_behalf_of


def robot_with(*rights: str, project: Project | None = None) -> Api:
    """A robot of the system with these rights, `project create`, in the system or (with a project) in that one."""
    kind = RobotPermission.Kind.PROJECT if project else RobotPermission.Kind.SYSTEM
    pairs = [right.split() for right in rights]
    grants = [RobotGrant(kind, resource, action, project.pk if project else None) for resource, action in pairs]
    robot, secret = create_robot(name="-".join(rights).replace(" ", "."), grants=grants, cause=BY_SYSTEM)
    return api_as(full_name(robot), secret)


@pytest.fixture
def first(db: None, make_user: Any) -> User:
    """The administrator of the first start."""
    user: User = make_user(FIRST_ADMIN, is_sysadmin=True)
    return user


# --- robots that manage projects -------------------------------------------------------------------------------------


def test_a_robot_that_may_create_projects_chooses_their_storage(first: User, sysadmin: Api) -> None:
    robot = robot_with("project create", "quota read")
    for limit, kept in ((1_048_576, 1_048_576), (0, 7000), (None, 7000), (-1, -1)):
        change(values={"storage_per_project": 7000}, cause=BY_SYSTEM)
        assert robot.post("/projects", {"project_name": f"p{kept}", "storage_limit": limit}).status_code in {201, 409}
        project = Project.objects.get(name=f"p{kept}") if kept > 0 else Project.objects.get(storage_limit_bytes=-1)
        assert project.storage_limit_bytes == kept


def test_somebody_elses_choice_of_storage_is_not_looked_at(user: Api) -> None:
    assert user.post("/projects", {"project_name": "mine", "storage_limit": 5}).status_code == 201
    assert Project.objects.get(name="mine").storage_limit_bytes == -1


def test_a_robot_that_may_list_projects_sees_all_of_them_in_the_list_alone(project: Project, first: User) -> None:
    create_project(name="open", is_public=True, cause=BY_SYSTEM)
    robot = robot_with("project list")
    assert [shown["name"] for shown in robot.get("/projects").json()] == ["fleet", "open"]
    assert [shown["name"] for shown in robot_with("quota read").get("/projects").json()] == ["open"]
    repository_of(project, "app")
    assert robot.get("/projects/fleet").status_code == 403
    assert robot.get("/repositories").json() == []
    assert [shown["name"] for shown in robot.get("/search?q=e").json()["project"]] == ["open"]


def test_what_a_robot_or_the_registry_creates_belongs_to_the_first_administrator(first: User, sysadmin: Api) -> None:
    assert robot_with("project create").post("/projects", {"project_name": "made"}).status_code == 201
    ensure_library()
    for name in ("made", "library"):
        shown = sysadmin.get(f"/projects/{name}").json()
        assert (shown["owner_name"], shown["owner_id"]) == (FIRST_ADMIN, first.pk)
    owned = sysadmin.get(f"/projects?owner={FIRST_ADMIN}&sort=name").json()
    assert [shown["name"] for shown in owned] == ["library", "made"]
    quota = sysadmin.get(f"/quotas?reference_id={owned[0]['project_id']}").json()[0]
    assert quota["ref"]["owner_name"] == FIRST_ADMIN


def test_the_oldest_administrator_owns_them_where_the_first_is_gone(first: User, make_user: Any) -> None:
    second: User = make_user("second", is_sysadmin=True)
    make_user("third", is_sysadmin=True)
    delete_user(user=first, cause=on_behalf_of(second.subject))
    project = create_project(name="made", is_public=False, cause=BY_SYSTEM)
    assert ProjectSettings.objects.get(project=project).owner == second


def test_a_first_start_gives_library_its_owner(db: None) -> None:
    ensure_admin()
    ensure_library()
    owner = ProjectSettings.objects.get(project__name="library").owner
    assert owner is not None
    assert owner.username == FIRST_ADMIN


@pytest.mark.parametrize("right", ["metadata list", "metadata read"])
def test_a_robot_reads_metadata_by_either_right(project: Project, right: str) -> None:
    assert robot_with(right, project=project).get("/projects/fleet/metadatas/").status_code == 200
    assert robot_with("quota read", project=project).get("/projects/fleet/metadatas/").status_code == 403


# --- looking for users ------------------------------------------------------------------------------------------------


def test_the_first_administrator_is_listed_where_his_id_is_asked_for(first: User, sysadmin: Api, user: Api) -> None:
    listed = sysadmin.get("/users?page=0&page_size=0")
    assert [shown["username"] for shown in listed.json()] == ["root-admin", "somebody"]
    assert listed["X-Total-Count"] == "2"
    assert sysadmin.get(f"/users?q=username={FIRST_ADMIN}").json() == []
    for key in ("user_id", "UserID", "UserId"):
        assert [u["username"] for u in sysadmin.get(f"/users?q={key}={first.pk}").json()] == [FIRST_ADMIN]
    assert sysadmin.get(f"/users/{first.pk}").json()["username"] == FIRST_ADMIN


def test_users_are_created_where_the_registry_keeps_them(sysadmin: Api, first: User) -> None:
    User.objects.exclude(pk__in=[first.pk]).delete()
    change(values={"auth_mode": "ldap_auth"}, cause=BY_SYSTEM)
    body = {"username": "ann", "password": PASSWORD, "email": "a@example.org"}
    assert api_as(FIRST_ADMIN, PASSWORD).post("/users", body).status_code == 403


# --- what is named by a number ----------------------------------------------------------------------------------------


def test_a_number_is_an_id_unless_it_is_said_to_be_a_name(sysadmin: Api, project: Project) -> None:
    named = create_project(name=str(project.pk), is_public=False, cause=BY_SYSTEM)
    missing = create_project(name="987654321", is_public=False, cause=BY_SYSTEM)
    path = f"/projects/{project.pk}"
    assert sysadmin.get(path).json()["name"] == "fleet"
    for header in ("false", "", "no"):
        assert sysadmin.get(path, **{"X-Is-Resource-Name": header}).json()["name"] == "fleet"
    assert sysadmin.get(path, **{"X-Is-Resource-Name": "true"}).json()["project_id"] == named.pk
    assert sysadmin.get("/projects/987654321").status_code == 404
    shown = sysadmin.get("/projects/987654321", **{"X-Is-Resource-Name": "True"})
    assert shown.json()["project_id"] == missing.pk
    for part in ("", "/summary", "/_deletable", "/members", "/robots", "/metadatas", "/artifacts"):
        assert sysadmin.get(path + part, **{"X-Is-Resource-Name": "true"}).status_code == 200
        assert sysadmin.get("/projects/987654321" + part).status_code == 404
    put(repository_of(named, "app"), "v1")
    assert len(sysadmin.get(f"{path}/repositories").json()) == 1, "these addresses know names alone"
    assert sysadmin.get(f"{path}/artifacts").json() == []


def test_a_robot_for_a_project_that_is_not_there_is_refused_by_its_name(sysadmin: Api) -> None:
    access = [{"resource": "repository", "action": "pull"}]
    body = {"name": "ci", "level": "project", "duration": -1,
            "permissions": [{"kind": "project", "namespace": "4711", "access": access}]}  # fmt: skip
    refused = sysadmin.post("/robots", body)
    assert (refused.status_code, "4711" in refused.json()["errors"][0]["message"]) == (404, True)


# --- permissions by scope ---------------------------------------------------------------------------------------------


def test_permissions_are_asked_for_in_a_part_of_a_project(sysadmin: Api, project: Project) -> None:
    path = f"/users/current/permissions?scope=/project/{project.pk}"
    within = sysadmin.get(f"{path}/repository&relative=true")
    assert within.status_code == 200
    assert {each["resource"] for each in within.json()} == {"."}
    assert {"push", "pull", "delete"} <= {each["action"] for each in within.json()}
    everything = sysadmin.get(f"{path}/repository").json()
    assert everything == sysadmin.get(path).json(), "without relative the whole project is meant"
    assert {"resource": f"/project/{project.pk}/repository", "action": "pull"} in everything
    assert {"resource": ".", "action": "update"} in sysadmin.get(f"{path}&relative=true").json()
    assert sysadmin.get(f"{path}/artifact-label&relative=true").json() == [
        {"resource": ".", "action": "create"}, {"resource": ".", "action": "delete"},
    ]  # fmt: skip
    assert sysadmin.get(f"{path}/no-such&relative=true").json() == []
    assert sysadmin.get("/users/current/permissions?scope=/project/987654/repository&relative=true").json() == []
    assert sysadmin.get("/users/current/permissions?scope=/project/x").status_code == 400


# --- one thing each ---------------------------------------------------------------------------------------------------


def test_a_projects_log_begins_with_its_creation(user: Api) -> None:
    assert user.post("/projects", {"project_name": "mine"}).status_code == 201
    relay()
    write_entries()
    for path in ("/projects/mine/auditlog-exts", "/auditlog-exts"):
        found = user.get(f"{path}?q=operation=create,resource_type=project").json()
        assert [(entry["resource"], entry["username"]) for entry in found] == [("mine", "somebody")]


def test_a_label_has_any_text_as_its_color(sysadmin: Api) -> None:
    for number, color in enumerate(("false", "", "rgb(255, 255, 255)", "#00AA00", "tomato")):
        made = sysadmin.post("/labels", {"name": f"l{number}", "scope": "g", "color": color})
        assert made.status_code == 201
        assert sysadmin.get(made["Location"].removeprefix("/api/v2.0")).json()["color"] == color


def test_repositories_are_found_by_a_blob_that_can_be_mounted_from_them(
    sysadmin: Api, user: Api, project: Project
) -> None:
    config = b'{"architecture":"amd64","os":"linux","unlike":"others"}'
    for name in ("app", "copy"):
        put(repository_of(project, name), "v1", config=config)
    put(repository_of(project, "other"), "v1")
    for path in ("/repositories", "/projects/fleet/repositories"):
        found = sysadmin.get(f"{path}?sort=name&q=blob_digest={Digest.of(config)}").json()
        assert [shown["name"] for shown in found] == ["fleet/app", "fleet/copy"]
    assert user.get(f"/repositories?q=blob_digest={Digest.of(config)}").json() == [], "of what one may pull alone"
    assert sysadmin.get("/repositories?q=blob_digest=sha256:" + "0" * 64).json() == []
    for wrong in ("x", "~sha256", "sha256:1"):
        assert sysadmin.get(f"/repositories?q=blob_digest={wrong}").status_code == 400


def test_robots_are_listed_by_name_and_a_chosen_secret_is_not_shown_again(sysadmin: Api) -> None:
    access = [{"resource": "quota", "action": "read"}]
    for name in ("b", "c", "a"):
        body = {"name": name, "level": "system", "duration": -1,
                "permissions": [{"kind": "system", "namespace": "/", "access": access}]}  # fmt: skip
        robot = sysadmin.post("/robots", body).json()
    assert [shown["name"] for shown in sysadmin.get("/robots").json()] == ["robot$a", "robot$b", "robot$c"]
    assert sysadmin.patch(f"/robots/{robot['id']}", {"secret": "Chosen-by-me-1"}).json() == {}
    assert sysadmin.patch(f"/robots/{robot['id']}", {"secret": ""}).json()["secret"]
    for question, names in (
        ("duration=-1", 3), ("duration=[1~]", 0), ("expires_at=-1", 3), ("creator_type=robot", 0), ("name=~b", 1),
        ("project_id=0", 3), ("creator_type=local,visible=true", 3),
    ):  # fmt: skip
        answer = sysadmin.get(f"/robots?q={question}")
        assert answer.status_code == 200, (question, answer.content)
        assert len(answer.json()) == names, question


def test_the_systems_allowlist_is_kept(sysadmin: Api, user: Api, anonymous: Api) -> None:
    path = "/system/CVEAllowlist"
    empty = user.get(path).json()
    assert (empty["items"], "expires_at" in empty) == ([], False)
    assert anonymous.get(path).status_code == 401
    given = {"items": [{"cve_id": "CVE-2026-1"}, {"cve_id": "CVE-2026-2"}], "expires_at": 1893456000}
    assert user.put(path, given).status_code == 403
    assert sysadmin.put(path, given).status_code == 200
    shown = user.get(path).json()
    assert {name: shown[name] for name in given} == given
    assert sysadmin.put(path, shown).status_code == 200, "what was read can be written"
    relay()
    write_entries()
    (entry, _) = sysadmin.get("/auditlog-exts?q=operation=update,resource_type=configuration").json()
    assert (entry["resource"], "CVE-2026-1" in entry["operation_description"]) == ("cve_allowlist", True)
    assert sysadmin.put(path, {"items": None}).status_code == 200
    assert user.get(path).json()["items"] == []
    many = {"items": [{"cve_id": f"CVE-{number}"} for number in range(2001)]}
    assert sysadmin.put(path, many).status_code == 400


def test_what_is_asked_first_is_answered_by_what_is_true_today(sysadmin: Api, user: Api) -> None:
    for path in (
        "/registries",
        "/registries?name=x&page=0&page_size=0",
        "/replication/policies",
        "/replication/executions",
    ):
        answer = sysadmin.get(path)
        assert (answer.status_code, answer.json(), answer["X-Total-Count"]) == (200, [], "0")
    assert sysadmin.get("/replication/adapters").json() == []
    assert sysadmin.get("/replication/adapterinfos").json() == {}
    for path in ("/scans/all/metrics", "/scans/schedule/metrics"):
        assert sysadmin.get(path).json() == {"total": 0, "completed": 0, "ongoing": False, "metrics": {}}
        assert user.get(path).status_code == 403
    assert sysadmin.post("/registries", {}).status_code == 501
    assert robot_with("registry list").get("/registries").status_code == 200
