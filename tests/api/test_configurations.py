"""`/configurations` by REST, and what the settings do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rbac.models import User
from rbac.services.robots import create_robot, full_name
from rbac.services.users import create_user
from registry_core.content.errors import Refused
from registry_core.content.models import Project
from registry_core.content.policies import policies
from registry_core.settings_store.changes import change
from tests.api.conftest import PASSWORD, Api, api_as
from tests.support.operations import BY_SYSTEM, on_behalf_of


def test_only_administrators_see_and_change_the_settings(sysadmin: Api, user: Api, anonymous: Api) -> None:
    for api, status in ((sysadmin, 200), (user, 403), (anonymous, 401)):
        assert api.get("/configurations").status_code == status
        assert api.put("/configurations", {"banner_message": "x"}).status_code == status
        assert api.get("/internalconfig").status_code == (401 if status == 401 else 403)


def test_a_setting_is_shown_as_it_was_set_and_a_secret_never(sysadmin: Api) -> None:
    wanted = {"oidc_client_secret": "Hidden-1", "session_timeout": 5, "oidc_name": None}
    assert sysadmin.put("/configurations", wanted).status_code == 200
    shown = sysadmin.get("/configurations")
    assert shown.json()["session_timeout"] == {"value": 5, "editable": True}
    assert "Hidden-1" not in shown.content.decode()
    secrets = {name for name in shown.json() if "password" in name or name.endswith("_secret")}
    assert {name: shown.json()[name] for name in secrets} == {"uaa_client_secret": {"value": "", "editable": True}}


@pytest.mark.parametrize("body", [{"session_timeout": "long"}, {"core_url": "http://x"}, [1], {"auth_mode": 3}])
def test_an_impossible_setting_is_refused_with_the_reason(sysadmin: Api, body: object) -> None:
    refused = sysadmin.put("/configurations", body)
    assert (refused.status_code, bool(refused.json()["errors"][0]["message"])) == (400, True)


def test_the_way_of_signing_in_is_fixed_while_there_are_users(db: None) -> None:
    admin_user = create_user(username="admin", password=PASSWORD, is_sysadmin=True, cause=BY_SYSTEM)
    admin = api_as("admin", PASSWORD)
    assert admin.get("/configurations").json()["auth_mode"] == {"value": "db_auth", "editable": True}
    create_user(username="second", password=PASSWORD, cause=on_behalf_of(admin_user.subject))
    assert admin.get("/configurations").json()["auth_mode"]["editable"] is False
    assert admin.put("/configurations", {"auth_mode": "ldap_auth"}).status_code == 400
    assert admin.put("/configurations", {"auth_mode": "db_auth"}).status_code == 200


def test_read_only_refuses_every_change_but_its_own_end(sysadmin: Api, user: Api) -> None:
    sysadmin.put("/configurations", {"read_only": True})
    for api in (sysadmin, user):
        refused = api.post("/projects", {"project_name": "late"})
        error = refused.json()["errors"][0]
        assert (refused.status_code, error["code"], "read-only" in error["message"]) == (403, "DENIED", True)
        assert api.get("/projects").status_code == 200
    assert sysadmin.put("/configurations", {"read_only": False}).status_code == 200
    assert user.post("/projects", {"project_name": "late"}).status_code == 201


def test_read_only_holds_operations_that_no_request_began(db: None) -> None:
    change(values={"read_only": True}, cause=BY_SYSTEM)
    nothing: Any = None
    with pytest.raises(Refused, match="read-only"):
        policies.ask(nothing)


def test_projects_can_be_left_to_administrators(sysadmin: Api, user: Api) -> None:
    sysadmin.put("/configurations", {"project_creation_restriction": "adminonly"})
    assert user.post("/projects", {"project_name": "mine"}).status_code == 403
    assert sysadmin.post("/projects", {"project_name": "theirs"}).status_code == 201


def test_a_new_project_gets_the_storage_of_the_settings(sysadmin: Api, user: Api) -> None:
    sysadmin.put("/configurations", {"storage_per_project": 5000})
    user.post("/projects", {"project_name": "small", "storage_limit": -1})
    sysadmin.post("/projects", {"project_name": "large", "storage_limit": -1})
    limits = dict(Project.objects.values_list("name", "storage_limit_bytes"))
    assert (limits["small"], limits["large"]) == (5000, -1)


def test_robots_are_called_as_the_settings_say(db: None, make_user: Callable[..., User]) -> None:
    change(values={"robot_name_prefix": "bot-"}, cause=BY_SYSTEM)
    robot, secret = create_robot(name="ci", grants=[], cause=BY_SYSTEM)
    make_user("bot-person")
    assert full_name(robot) == "bot-ci"
    assert api_as("bot-ci", secret).get("/projects").status_code == 200
    assert api_as("bot-person", PASSWORD).get("/projects").status_code == 200
    assert api_as("robot$ci", secret).get("/projects").status_code == 401


def test_a_robot_needs_the_permission_to_create_projects(db: None) -> None:
    _, secret = create_robot(name="ci", grants=[], cause=BY_SYSTEM)
    assert api_as("robot$ci", secret).post("/projects", {"project_name": "x"}).status_code == 403
