"""`/users` by REST."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from rbac.models import RobotPermission, Role, User
from rbac.services.robots import RobotGrant, create_robot, full_name
from rbac.services.users import set_cli_secret
from registry_core.content.models import Project
from registry_core.settings_store.changes import change
from tests.api.conftest import PASSWORD, Api, api_as
from tests.support.operations import BY_SYSTEM

NEW = {"username": "new", "password": PASSWORD, "email": "new@example.org", "realname": "New One", "comment": "c"}


@pytest.fixture
def somebody(user: Api) -> User:
    return User.objects.get(username="somebody")


@pytest.fixture
def system_robot(db: None) -> Callable[..., Api]:
    """A robot of the system with rights there, written `user create`."""

    def make(*rights: str) -> Api:
        pairs = [right.split() for right in rights]
        grants = [RobotGrant(RobotPermission.Kind.SYSTEM, resource, action) for resource, action in pairs]
        robot, secret = create_robot(name="bot", grants=grants, cause=BY_SYSTEM)
        return api_as(full_name(robot), secret)

    return make


def test_an_administrator_makes_a_user_who_can_sign_in(sysadmin: Api) -> None:
    made = sysadmin.post("/users", NEW)
    assert (made.status_code, made.content) == (201, b"")
    shown = sysadmin.get(made["Location"].removeprefix("/api/v2.0")).json()
    assert (shown["username"], shown["realname"], shown["sysadmin_flag"]) == ("new", "New One", False)
    assert api_as("NEW", PASSWORD).get("/users/current").json() == shown
    assert sysadmin.post("/users", NEW).status_code == 409
    assert sysadmin.post("/users", NEW | {"username": "other", "email": "NEW@example.org"}).status_code == 409


@pytest.mark.parametrize(
    "wrong",
    [{"username": "a b"}, {"username": "robot$x"}, {"username": ""}, {"username": "u" * 256}, {"password": "weak"},
     {"email": "no address"}, {"email": "a@b\n.org"}, {"realname": "a\nb"}, {"comment": "a\x00"},
     {"comment": "c" * 256}, {"username": "admin\u200b"}, {"username": "adm\u0456n"}, {"realname": "\u202exis"}]
)  # fmt: skip
def test_what_a_user_cannot_be_is_refused(sysadmin: Api, wrong: dict[str, str]) -> None:
    assert sysadmin.post("/users", NEW | wrong).status_code == 400
    assert not User.objects.filter(email="new@example.org").exists()


def test_names_of_any_one_script_are_allowed_and_spelled_in_one_way(sysadmin: Api) -> None:
    for number, name in enumerate(("李小龙", "иван", "jose\u0301")):
        wanted = NEW | {"username": name, "email": f"n{number}@example.org"}
        assert sysadmin.post("/users", wanted).status_code == 201
        assert api_as(name, PASSWORD).get("/users/current").status_code == 200
    assert api_as("jos\u00e9", PASSWORD).get("/users/current").json()["username"] == "jos\u00e9"


def test_a_user_of_before_with_a_name_that_is_refused_now_signs_in(sysadmin: Api, user: Api, somebody: User) -> None:
    User.objects.filter(pk=somebody.pk).update(username="some\u200bbody")
    assert api_as("some\u200bbody", PASSWORD).get("/users/current").status_code == 200


def test_nobody_signs_up_unless_the_setting_allows_it(anonymous: Api, user: Api) -> None:
    assert (anonymous.post("/users", NEW).status_code, user.post("/users", NEW).status_code) == (401, 403)
    change(values={"self_registration": True}, cause=BY_SYSTEM)
    assert anonymous.post("/users", NEW | {"sysadmin_flag": True, "has_admin_role": True}).status_code == 201
    made = User.objects.get(username="new")
    assert (made.is_sysadmin, made.credential_version) == (False, 1)


def test_signing_up_again_and_again_is_slowed_down(anonymous: Api) -> None:
    change(values={"self_registration": True}, cause=BY_SYSTEM)
    statuses = [
        anonymous.client.post(
            "/api/v2.0/users",
            data=NEW | {"username": f"new{number}", "email": ""},
            content_type="application/json",
            REMOTE_ADDR="192.0.2.77",
        ).status_code
        for number in range(6)
    ]
    assert statuses == [201, 201, 201, 201, 201, 429]


def test_the_list_is_for_administrators_and_takes_q_sort_and_pages(
    sysadmin: Api, user: Api, make_user: Callable[..., User]
) -> None:
    make_user("zoe")
    listed = sysadmin.get("/users?q=username=~o&sort=-username&page_size=2")
    assert ([found["username"] for found in listed.json()], listed["X-Total-Count"]) == (["zoe", "somebody"], "3")
    assert [found["username"] for found in sysadmin.get("/users?q=sysadmin_flag=true").json()] == ["root-admin"]
    assert sysadmin.get("/users?q=password=~a").status_code == 400
    assert sysadmin.get("/users?sort=password").status_code == 400
    assert user.get("/users").status_code == 403


def test_a_search_shows_ids_and_names_to_whoever_signed_in(user: Api, anonymous: Api, sysadmin: Api) -> None:
    found = user.get("/users/search?username=ROOT").json()
    assert found == [{"user_id": User.objects.get(username="root-admin").pk, "username": "root-admin"}]
    assert user.get("/users/search?username=%25").json() == []
    assert (user.get("/users/search").status_code, anonymous.get("/users/search?username=a").status_code) == (400, 401)


def test_only_the_user_himself_and_administrators_see_and_change_a_profile(
    sysadmin: Api, user: Api, somebody: User, make_user: Callable[..., User]
) -> None:
    other = make_user("other")
    assert user.get(f"/users/{somebody.pk}").status_code == 200
    assert user.get(f"/users/{other.pk}").content == user.get("/users/987654").content
    assert user.get(f"/users/{other.pk}").status_code == 403
    assert sysadmin.get("/users/987654").status_code == 404
    wanted = {"realname": "Some Body", "sysadmin_flag": True, "username": "root", "user_id": other.pk}
    assert user.put(f"/users/{somebody.pk}", wanted).status_code == 200
    somebody.refresh_from_db()
    told = (somebody.username, somebody.realname, somebody.email, somebody.is_sysadmin)
    assert told == ("somebody", "Some Body", "", False), "what is left out becomes empty"
    assert user.put(f"/users/{other.pk}", {"realname": "x"}).status_code == 403
    assert user.put(f"/users/{somebody.pk}", {"email": "Other@example.org"}).status_code == 409
    wanted = {"realname": "S", "email": "some@example.org", "comment": "here"}
    assert user.put(f"/users/{somebody.pk}", wanted).status_code == 200
    assert user.put(f"/users/{somebody.pk}", wanted | {"comment": None}).status_code == 200
    somebody.refresh_from_db()
    assert (somebody.realname, somebody.email, somebody.comment) == ("S", "some@example.org", "")


def test_ones_own_password_is_changed_with_the_old_one_only(user: Api, somebody: User) -> None:
    set_cli_secret(user=somebody, secret="Another-1-secret", cause=BY_SYSTEM)
    path = f"/users/{somebody.pk}/password"
    for old in ("", "Wrong-1-word", "Another-1-secret"):
        assert user.put(path, {"old_password": old, "new_password": "Changed-2-word"}).status_code == 403
    assert user.put(path, {"old_password": PASSWORD, "new_password": "weak"}).status_code == 400
    assert user.put(path, {"old_password": PASSWORD, "new_password": PASSWORD}).status_code == 400
    assert user.put(path, {"old_password": PASSWORD, "new_password": "Changed-2-word"}).status_code == 200
    assert user.get("/users/current").status_code == 401
    assert api_as("somebody", "Changed-2-word").get("/users/current").status_code == 200


def test_an_administrator_sets_the_password_of_others_and_nobody_else_does(
    sysadmin: Api, user: Api, somebody: User, make_user: Callable[..., User]
) -> None:
    other = make_user("other")
    assert user.put(f"/users/{other.pk}/password", {"new_password": "Changed-2-word"}).status_code == 403
    assert sysadmin.put(f"/users/{somebody.pk}/password", {"new_password": "Changed-2-word"}).status_code == 200
    assert api_as("somebody", "Changed-2-word").get("/users/current").status_code == 200


def test_the_secret_for_command_line_clients_is_set_and_never_shown(user: Api, somebody: User) -> None:
    path = f"/users/{somebody.pk}/cli_secret"
    assert (user.put(path, {"secret": "weak"}).status_code, user.put(path, {"secret": ""}).status_code) == (400, 400)
    answer = user.put(path, {"secret": "For-the-cli-1"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert api_as("somebody", "For-the-cli-1").get("/users/current").status_code == 200


def test_the_last_administrator_stays(sysadmin: Api, user: Api, somebody: User) -> None:
    own = User.objects.get(username="root-admin")
    assert sysadmin.put(f"/users/{own.pk}/sysadmin", {"sysadmin_flag": False}).status_code == 403
    assert sysadmin.delete(f"/users/{own.pk}").status_code == 403
    assert user.put(f"/users/{somebody.pk}/sysadmin", {"sysadmin_flag": True}).status_code == 403
    assert sysadmin.put(f"/users/{somebody.pk}/sysadmin", {"sysadmin_flag": True}).status_code == 200
    assert user.put(f"/users/{own.pk}/sysadmin", {"sysadmin_flag": False}).status_code == 200
    assert sysadmin.get("/users").status_code == 403
    assert user.delete(f"/users/{somebody.pk}").status_code == 403


def test_a_deleted_user_is_gone_and_the_name_free(sysadmin: Api, user: Api, somebody: User) -> None:
    assert sysadmin.delete(f"/users/{somebody.pk}").status_code == 200
    assert sysadmin.delete(f"/users/{somebody.pk}").status_code == 404
    assert user.get("/users/current").status_code == 401
    assert sysadmin.post("/users", NEW | {"username": "Somebody"}).status_code == 201


def test_a_robot_that_manages_users_cannot_reach_for_an_administrator(
    sysadmin: Api, somebody: User, system_robot: Callable[..., Api], make_user: Callable[..., User]
) -> None:
    second = make_user("second-admin", is_sysadmin=True)
    robot = system_robot("user create", "user read", "user list", "user update", "user delete")
    assert robot.get("/users/current").status_code == 412
    assert robot.get(f"/users/{second.pk}").status_code == 200
    assert robot.post("/users", NEW).status_code == 201
    assert robot.put(f"/users/{second.pk}/password", {"new_password": "Changed-2-word"}).status_code == 403
    assert robot.put(f"/users/{somebody.pk}/sysadmin", {"sysadmin_flag": True}).status_code == 403
    assert robot.put(f"/users/{second.pk}/cli_secret", {"secret": "For-the-cli-1"}).status_code == 403
    assert robot.delete(f"/users/{second.pk}").status_code == 403
    assert robot.delete(f"/users/{somebody.pk}").status_code == 200


def test_a_user_learns_what_he_may_do_in_a_project(
    member: Callable[[Project, Role], Api], user: Api, project: Project
) -> None:
    guest = member(project, Role.GUEST)
    path = f"/users/current/permissions?scope=/project/{project.pk}"
    full, relative = guest.get(path).json(), guest.get(f"{path}&relative=true").json()
    assert {"resource": f"/project/{project.pk}/repository", "action": "pull"} in full
    assert {"resource": f"/project/{project.pk}", "action": "read"} in full
    assert {"resource": "repository", "action": "pull"} in relative
    assert {"resource": ".", "action": "read"} in relative
    assert {"resource": "repository", "action": "push"} not in relative
    assert user.get(path).json() == user.get("/users/current/permissions").json() == []
    assert user.get("/users/current/permissions?scope=/project/x").status_code == 400
    assert user.get("/users/current/permissions?scope=/system").json() == []


def test_a_session_goes_on_after_its_own_password_change_and_others_end(user: Api, somebody: User) -> None:
    here, elsewhere = Client(), Client()
    for browser in (here, elsewhere):
        browser.post("/c/login", {"principal": "somebody", "password": PASSWORD})
    token = here.get("/api/v2.0/users/current")["X-Harbor-CSRF-Token"]
    changed = here.put(
        f"/api/v2.0/users/{somebody.pk}/password",
        data={"old_password": PASSWORD, "new_password": "Changed-2-word"},
        content_type="application/json",
        headers={"X-Harbor-CSRF-Token": token},
    )
    assert changed.status_code == 200
    assert here.get("/api/v2.0/users/current").status_code == 200
    assert elsewhere.get("/api/v2.0/users/current").status_code == 401
