"""Signing in and out with a form, as Harbor's clients do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from rbac.models import RobotPermission, User
from rbac.services.robots import RobotGrant, create_robot, full_name
from registry_core.events.models import Event
from registry_core.settings_store.changes import change
from tests.api.conftest import PASSWORD
from tests.support.operations import BY_SYSTEM

CSRF = "X-Harbor-CSRF-Token"


@pytest.fixture
def browser(make_user: Callable[..., User]) -> Client:
    """One that keeps cookies and checks CSRF as the server does, while `somebody` has an account."""
    make_user("somebody")
    return Client(enforce_csrf_checks=True)


def log_in(browser: Client, *, principal: str = "somebody", password: str = PASSWORD, **headers: str) -> Any:
    return browser.post("/c/login", {"principal": principal, "password": password}, headers=headers)


def make_project(browser: Client, name: str, **headers: str) -> Any:
    body = {"project_name": name}
    return browser.post("/api/v2.0/projects", body, content_type="application/json", headers=headers)


def events(kind: str) -> list[dict[str, Any]]:
    return [event.payload for event in Event.objects.filter(kind=kind).order_by("pk")]


def test_a_session_reads_at_once_and_writes_with_the_token_of_its_last_answer(browser: Client) -> None:
    signed_in = log_in(browser)
    assert (signed_in.status_code, signed_in.content) == (200, b"")
    looked = browser.get("/api/v2.0/users/current")
    assert looked.json()["username"] == "somebody"
    assert make_project(browser, "mine").status_code == 403
    assert make_project(browser, "mine", **{CSRF: "wrong"}).status_code == 403
    assert make_project(browser, "mine", **{CSRF: looked[CSRF]}).status_code == 201
    assert make_project(browser, "other", **{CSRF: signed_in[CSRF]}).status_code == 201


def test_wrong_credentials_open_no_session_and_are_told_to_the_audit_log(browser: Client) -> None:
    refused = log_in(browser, password="Wrong-1-word")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (401, "UNAUTHORIZED")
    assert log_in(browser, principal="a\x00b").status_code == 401
    assert browser.get("/api/v2.0/users/current").status_code == 401
    told = events("user.sign_in_failed")
    assert [payload["username"] for payload in told] == ["somebody", "a\N{REPLACEMENT CHARACTER}b"]
    assert Event.objects.filter(kind="user.sign_in_failed").earliest("pk").client == "127.0.0.1"


def test_signing_in_and_out_is_told_to_the_audit_log(browser: Client) -> None:
    log_in(browser)
    assert browser.get("/c/log_out").status_code == 200
    assert browser.get("/api/v2.0/users/current").status_code == 401
    assert browser.get("/c/log_out").status_code == 200
    assert [payload["username"] for kind in ("user.signed_in", "user.signed_out") for payload in events(kind)] == [
        "somebody",
        "somebody",
    ]


def test_a_robot_gets_no_session(browser: Client) -> None:
    grants = [RobotGrant(RobotPermission.Kind.SYSTEM, "catalog", "read")]
    robot, secret = create_robot(name="bot", grants=grants, cause=BY_SYSTEM)
    assert log_in(browser, principal=full_name(robot), password=secret).status_code == 403
    assert events("user.signed_in") == []


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_another_site_signs_its_visitors_neither_in_nor_out(browser: Client, headers: dict[str, str]) -> None:
    assert log_in(browser, **headers).status_code == 403
    log_in(browser, Origin="http://testserver")
    assert browser.get("/c/log_out", headers=headers).status_code == 403
    assert browser.get("/api/v2.0/users/current").status_code == 200


def test_other_methods_are_refused(browser: Client) -> None:
    assert (browser.get("/c/login").status_code, browser.post("/c/log_out").status_code) == (405, 403)


def test_names_cannot_be_probed_where_nobody_can_sign_up(browser: Client, make_user: Callable[..., User]) -> None:
    def ask(**form: str) -> Any:
        return browser.post("/c/userExists", form)

    assert ask(target="username", value="somebody").status_code == 401
    change(values={"self_registration": True}, cause=BY_SYSTEM)
    assert ask(target="username", value="SomeBody").json() is True
    assert ask(target="email", value="somebody@example.org").json() is True
    assert ask(target="username", value="nobody").json() is False
    assert ask(target="password", value="x").status_code == 400
    assert ask(target="username", value="a\x00").status_code == 400
