"""Requests: nothing that the contract's clients send is refused, above all what Go sends for what was not set."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest
import yaml
from django.core.management import call_command

from projects.models import ProjectSettings
from rbac.models import Robot, User
from tests.api.conftest import Api
from tests.api.contract_tables import ANSWERS, REQUESTS, answers, load, requests, stricter
from tests.api.routes import names_in, routes, rows
from tests.api.tenants import OWN
from tests.api.test_contract import CONTRACT
from tests.api.test_hostile_input import _changing
from tests.api.world import World, ask, world

__all__ = ["world"]

REASONS: Final[dict[str, str]] = {}
"""Where the schema is stricter than the contract, line by line, and why. May only become shorter."""
NULLS: Final = frozenset({"PUT /configurations"})
"""Bodies that are tables of settings and no forms: a null in them is one setting that is not named."""


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("schema") / "schema.yaml"
    call_command("spectacular", "--file", str(path))
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def test_no_request_is_asked_for_more_than_the_contract_asks(schema: dict[str, Any]) -> None:
    found = stricter(schema, json.loads(REQUESTS.read_text()))
    assert sorted(set(found) - REASONS.keys()) == [], "stricter than the contract, without a reason"
    assert sorted(REASONS.keys() - set(found)) == [], "no longer stricter: take the reason away"


def test_strictness_is_found_where_there_is_some() -> None:
    """The test above would find what it looks for."""
    described = {"required": ["name"], "properties": {"name": {"type": "string", "minLength": 1}}}
    body = {"content": {"application/json": {"schema": described}}}
    ours = {"paths": {"/api/v2.0/labels/{id}": {"put": {"requestBody": body}}}}
    assert stricter(ours, {"PUT /labels/{}": {"name": [False, {}]}}) == [
        "PUT /labels/{}: name: required, null refused, minLength 1"
    ]
    assert stricter(ours, {"PUT /labels/{}": {"name": [True, {"minLength": 1}]}}) == []


def test_the_tables_are_those_of_the_contract() -> None:
    contract = load(CONTRACT / "harbor-v2.0.yaml")
    told = "python -m tests.api.contract_tables writes them anew"
    assert json.loads(REQUESTS.read_text()) == json.loads(json.dumps(requests(contract))), told
    assert json.loads(ANSWERS.read_text()) == json.loads(json.dumps(answers(contract))), told


@pytest.mark.slow
def test_null_means_absent_in_every_body(world: World) -> None:
    """A body of nothing but nulls is answered as an empty one: word by word, whether it is taken or refused."""
    wanted: dict[str, dict[str, Any]] = json.loads(REQUESTS.read_text())
    wrong, seen = [], 0
    served = [route for route in routes() if route.is_rest and route.shape in rows()]
    admin = world.callers["projectAdmin"]
    shapes = {world.path(route, names_in(rows()[route.shape][0]), OWN, admin): route.shape for route in served}
    for caller in ("sysadmin", "projectAdmin"):
        api = world.callers[caller].api
        for method, path in _changing(world):
            name = f"{method} /{shapes[path].removeprefix('api/v2.0/')}"
            if name not in wanted or name in NULLS:
                continue
            seen += 1
            empty = ask(api, method, path, {})
            nulls = ask(api, method, path, dict.fromkeys(wanted[name]))
            if _told(empty) != _told(nulls):
                wrong.append(f"{name}: {empty.status_code} {empty.content!r}, {nulls.status_code} {nulls.content!r}")
            if ask(api, method, path, content=b"null").status_code != empty.status_code:
                wrong.append(f"{name}: another answer to null")
    assert not wrong, "\n".join(wrong)
    assert seen > 40


def _told(answer: Any) -> tuple[int, str]:
    """What is answered, but for a secret that was generated."""
    return answer.status_code, re.sub(r'"secret":"[^"]*"', "", answer.content.decode())


def test_settings_that_are_null_stay(sysadmin: Api) -> None:
    assert sysadmin.put("/configurations", {"banner_message": "noon"}).status_code == 200
    given = sysadmin.get("/configurations").json()
    nulls = dict.fromkeys(given)
    assert sysadmin.put("/configurations", nulls).status_code == 200
    assert sysadmin.get("/configurations").json() == given


def test_what_was_read_of_a_project_can_be_written_again(sysadmin: Api) -> None:
    made: dict[str, Any] = {
        "project_name": "again",
        "cve_allowlist": {},
        "metadata": None,
        "storage_limit": 0,
        "registry_id": None,
    }
    assert sysadmin.post("/projects", made).status_code == 201
    shown = sysadmin.get("/projects/again").json()
    assert sysadmin.put("/projects/again", shown).status_code == 200
    assert sysadmin.put("/projects/again", shown | {"cve_allowlist": {"items": None}}).status_code == 200
    kept = sysadmin.put("/projects/again", {"cve_allowlist": {"items": [{"cve_id": "CVE-1"}, {"cve_id": "CVE-1"}]}})
    assert kept.status_code == 200
    assert (
        sysadmin.put("/projects/again", {"metadata": {"auto_scan": "true"}, "cve_allowlist": None}).status_code == 200
    )
    settings = ProjectSettings.objects.get(project__name="again")
    assert settings.cve_allowlist == {"items": ["CVE-1"], "expires_at": None}


def test_an_administrator_is_demoted_by_a_flag_that_is_not_sent(sysadmin: Api, make_user: Any) -> None:
    for body in ({}, {"sysadmin_flag": None}, {"sysadmin_flag": False}):
        user: User = make_user(f"boss-{len(body)}-{bool(body)}", is_sysadmin=True)
        assert sysadmin.put(f"/users/{user.pk}/sysadmin", body).status_code == 200
        user.refresh_from_db()
        assert user.is_sysadmin is False
        user.delete()


def test_a_disabled_robot_is_enabled_by_a_flag_that_is_not_sent(sysadmin: Api) -> None:
    access = [{"resource": "project", "action": "list", "effect": None}, {"resource": "quota", "action": "read"}]
    permissions = [{"kind": "system", "namespace": "/", "access": access}]
    body = {"name": "ci", "level": "system", "duration": -1, "description": "d", "disable": True, "secret": None,
            "permissions": permissions}  # fmt: skip
    made = sysadmin.post("/robots", body).json()
    robot = {"name": made["name"], "level": "system", "duration": -1, "permissions": permissions}
    assert sysadmin.put(f"/robots/{made['id']}", robot).status_code == 200
    shown = sysadmin.get(f"/robots/{made['id']}").json()
    assert (shown["disable"], shown.get("description", "")) == (False, "")
    assert Robot.objects.get(pk=made["id"]).permissions.count() == 2
