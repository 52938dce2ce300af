"""Signing in and out: who gets in, what is said to those who do not, and where the way leads afterwards."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client

from frontend.views.session import ROBOT, WRONG, local_path
from rbac.models import RobotPermission, User
from rbac.services.robots import RobotGrant, create_robot
from rbac.services.users import revoke_sessions, set_active
from registry_core.settings_store.changes import change
from tests.frontend.conftest import PASSWORD
from tests.support.operations import BY_SYSTEM

pytestmark = pytest.mark.django_db


def sign_in(browser: Client, **form: str) -> Any:
    """Open the sign-in page and send its form, as a person does."""
    page = browser.get("/sign-in").content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    return browser.post("/sign-in", {"csrfmiddlewaretoken": token[1] if token else "", **form})


def test_front_door_leads_strangers_to_the_sign_in_page(browser: Client) -> None:
    assert browser.get("/").headers["Location"] == "/sign-in"


def test_front_door_leads_users_to_the_projects(console: Client) -> None:
    assert console.get("/").headers["Location"] == "/projects"
    assert console.get("/sign-in").headers["Location"] == "/projects"


def test_right_password_opens_the_console(browser: Client, ada: User) -> None:
    answer = sign_in(browser, username="Ada", password=PASSWORD)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/projects")
    assert "ada" in browser.get("/projects").content.decode()


@pytest.mark.parametrize(
    ("username", "password"),
    [("ada", "Wrong-1436"), ("nobody", PASSWORD), ("", ""), ("a\x00da", "\x00"), ("ü" * 900, "x")],
)
def test_wrong_credentials_all_read_the_same(browser: Client, ada: User, username: str, password: str) -> None:
    answer = sign_in(browser, username=username, password=password)
    assert answer.status_code == 401
    assert WRONG in answer.content.decode()


def test_disabled_user_is_told_no_more_than_a_stranger(browser: Client, ada: User) -> None:
    set_active(user=ada, is_active=False, cause=BY_SYSTEM)
    answer = sign_in(browser, username="ada", password=PASSWORD)
    assert (answer.status_code, WRONG in answer.content.decode()) == (401, True)


def test_disabling_a_user_ends_the_session(console: Client, ada: User) -> None:
    set_active(user=ada, is_active=False, cause=BY_SYSTEM)
    assert console.get("/projects").status_code == 302


def test_revoking_a_users_sessions_ends_them(console: Client, ada: User) -> None:
    revoke_sessions(user=ada, cause=BY_SYSTEM)

    assert console.get("/projects").headers["Location"].startswith("/sign-in")


def ends_at(console: Client) -> float:
    """When the session ends, as the database has it; the client's own clock."""
    return Session.objects.get(pk=console.session.session_key).expire_date.timestamp()


def test_a_session_lives_as_long_as_the_settings_say(browser: Client, ada: User) -> None:
    change(values={"session_timeout": 5}, cause=BY_SYSTEM)
    sign_in(browser, username="ada", password=PASSWORD)
    assert ends_at(browser) == pytest.approx(time.time() + 300, abs=20)


def test_opening_a_page_prolongs_the_session_and_what_a_page_fetches_does_not(
    browser: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(browser, username="ada", password=PASSWORD)
    change(values={"session_timeout": 600}, cause=BY_SYSTEM)
    began = ends_at(browser)
    later = time.time() + 5000
    monkeypatch.setattr("rbac.sessions.time.time", lambda: later)
    browser.get("/projects", headers={"HX-Request": "true"})
    assert ends_at(browser) == began
    browser.get("/projects")
    assert ends_at(browser) > began + 30_000


def test_many_wrong_passwords_are_answered_with_a_time_to_wait(browser: Client, ada: User) -> None:
    answers = [sign_in(browser, username="ada", password="Wrong-1436") for _ in range(6)]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert "Too many attempts. Wait " in answers[-1].content.decode()


def test_robot_is_told_where_it_belongs(browser: Client) -> None:
    robot, secret = create_robot(
        name="ci", grants=[RobotGrant(RobotPermission.Kind.SYSTEM, "catalog", "read")], cause=BY_SYSTEM
    )
    answer = sign_in(browser, username=f"robot${robot.name}", password=secret)
    assert (answer.status_code, ROBOT in answer.content.decode()) == (403, True)


def test_password_is_never_sent_back(browser: Client, ada: User) -> None:
    answer = sign_in(browser, username='ada"><b>', password="Wrong-1436")
    assert "Wrong-1436" not in answer.content.decode()
    assert "<b>" not in answer.content.decode()


def test_session_id_and_csrf_token_change_with_the_sign_in(browser: Client, ada: User) -> None:
    browser.get("/sign-in")
    token = browser.cookies["csrftoken"].value
    sign_in(browser, username="ada", password=PASSWORD)
    first = browser.cookies["sid"].value
    assert browser.cookies["csrftoken"].value != token
    page = browser.get("/projects").content.decode()
    match = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    browser.post("/sign-out", {"csrfmiddlewaretoken": match[1] if match else ""})
    sign_in(browser, username="ada", password=PASSWORD)
    assert browser.cookies["sid"].value not in {"", first}


def test_session_cookie_is_out_of_reach_of_scripts_and_other_sites(browser: Client, ada: User) -> None:
    sign_in(browser, username="ada", password=PASSWORD)
    cookie = browser.cookies["sid"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")


def test_sign_in_without_csrf_token_is_refused(browser: Client, ada: User) -> None:
    answer = browser.post("/sign-in", {"username": "ada", "password": PASSWORD})
    assert answer.status_code == 403
    assert "This form is out of date" in answer.content.decode()


def test_sign_out_ends_the_session_in_the_database(console: Client) -> None:
    sid = console.cookies["sid"].value
    assert console.get("/sign-out").status_code == 405
    assert console.post("/sign-out").headers["Location"] == "/sign-in"
    console.cookies["sid"] = sid
    assert console.get("/projects").status_code == 302


def test_stranger_comes_back_to_the_page_asked_for(browser: Client, ada: User) -> None:
    answer = browser.get("/projects/fleet/app?q=1.0")
    assert answer.headers["Location"] == "/sign-in?next=/projects/fleet/app%3Fq%3D1.0"
    form = browser.get(answer.headers["Location"]).content.decode()
    assert 'value="/projects/fleet/app?q=1.0"' in form
    assert sign_in(browser, username="ada", password=PASSWORD, next="/projects/fleet").headers["Location"] == (
        "/projects/fleet"
    )


def test_rows_that_a_dead_session_asks_for_send_the_whole_page_to_the_sign_in(browser: Client) -> None:
    answer = browser.get("/projects", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, "/sign-in?next=/projects")


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/",
        "//evil.example/",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/%5cevil.example",
        "/%5Cevil.example",
        "/projects?q=%5c",
        "/@evil.example",
        "/projects//evil.example",
        "/projects\r\nLocation: https://evil.example",
        "/projects\n",
        "/projects?q=%0d%0aSet-Cookie:x",
        "/projects\t",
        "javascript:alert(1)",
        "projects",
        "/" + "a" * 3000,
    ],
)
def test_only_local_paths_are_led_to(browser: Client, ada: User, address: str) -> None:
    assert local_path(address) == "/projects"
    answer = sign_in(browser, username="ada", password=PASSWORD, next=address)
    assert answer.headers["Location"] == "/projects"


@pytest.mark.parametrize("address", ["/", "/projects", "/projects/a.b/c_d/e-f?q=x&after=y%2Fz"])
def test_local_paths_are_kept(address: str) -> None:
    assert local_path(address) == address


@pytest.mark.parametrize("round_", ["a", "a/", "/a", "a.", "%2", "a=", "~", "?"])
@pytest.mark.parametrize("end", ["!", "\n", "\\", "", "//"])
def test_no_address_takes_long_to_be_looked_at(browser: Client, round_: str, end: str) -> None:
    address = ("/" + round_ * 2000)[: 2000 - len(end)] + end
    begin_s = time.perf_counter()
    local_path(address)
    assert time.perf_counter() - begin_s < 0.05
    assert browser.get("/sign-in", {"next": address}).status_code == 200
