"""Secrets of accounts: what ends what, who may change which, and what a secret for command-line clients does not do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from rbac.models import CliSecret, RefreshToken, User
from rbac.services import authentication, refresh_tokens
from rbac.services.throttle import Throttle
from rbac.services.users import set_cli_secret
from registry_core.access import Unauthenticated, authority
from registry_core.events.models import Event
from tests.api.conftest import PASSWORD, Api, api_as
from tests.support.operations import BY_SYSTEM, on_behalf_of

CLI = "For-the-cli-1"
NEW = "Changed-2-word"


@pytest.fixture(autouse=True)
def fresh_throttle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "_throttle", Throttle())


@pytest.fixture
def somebody(user: Api) -> User:
    return User.objects.get(username="somebody")


@pytest.fixture
def browser(somebody: User) -> Client:
    """A session of somebody's, begun with the password."""
    client = Client()
    assert client.post("/c/login", {"principal": "somebody", "password": PASSWORD}).status_code == 200
    return client


def send(browser: Client, method: str, path: str, body: Any = None) -> int:
    token = browser.get("/api/v2.0/users/current")["X-Harbor-CSRF-Token"]
    answer = browser.generic(
        method, f"/api/v2.0{path}", body or b"", content_type="application/json",
        headers={"X-Harbor-CSRF-Token": token},
    )  # fmt: skip
    return int(answer.status_code)


def refresh_token_of(user: User) -> str:
    return refresh_tokens.issue(authority=authority(), device="docker", cause=on_behalf_of(user.subject))


def is_good(token: str) -> bool:
    try:
        refresh_tokens.redeem(authority=authority(), token=token, client="192.0.2.1")
    except Unauthenticated:
        return False
    return True


@pytest.mark.parametrize("by_whom", ["himself", "an administrator"])
def test_a_new_password_ends_cli_secret_sessions_and_refresh_tokens(
    sysadmin: Api, user: Api, somebody: User, browser: Client, by_whom: str
) -> None:
    set_cli_secret(user=somebody, secret=CLI, cause=BY_SYSTEM)
    browser.post("/c/login", {"principal": "somebody", "password": PASSWORD})
    somebody.refresh_from_db()
    token = refresh_token_of(somebody)
    assert api_as("somebody", CLI).get("/users/current").status_code == 200
    assert browser.get("/api/v2.0/users/current").status_code == 200
    path = f"/users/{somebody.pk}/password"
    if by_whom == "himself":
        changed = user.put(path, {"old_password": PASSWORD, "new_password": NEW})
    else:
        changed = sysadmin.put(path, {"new_password": NEW})
    assert changed.status_code == 200
    assert api_as("somebody", CLI).get("/users/current").status_code == 401
    assert browser.get("/api/v2.0/users/current").status_code == 401
    assert not is_good(token)
    assert not CliSecret.objects.exists()
    assert api_as("somebody", NEW).get("/users/current").status_code == 200


def test_setting_a_cli_secret_needs_the_password(user: Api, somebody: User, browser: Client) -> None:
    path = f"/users/{somebody.pk}/cli_secret"
    assert send(browser, "PUT", path, b'{"secret": "For-the-cli-1"}') == 403
    assert send(browser, "PUT", path, b'{"secret": "For-the-cli-1", "password": "Wrong-1-word"}') == 403
    assert not CliSecret.objects.exists()
    assert send(browser, "PUT", path, b'{"secret": "For-the-cli-1", "password": "Portolan-1"}') == 200
    assert browser.get("/api/v2.0/users/current").status_code == 200  # the session that did it goes on
    by_cli = api_as("somebody", CLI)
    assert by_cli.get("/users/current").status_code == 200
    assert by_cli.put(path, {"secret": "Another-3-cli"}).status_code == 403
    assert by_cli.put(path, {"secret": "Another-3-cli", "password": CLI}).status_code == 403
    assert user.put(path, {"secret": "Another-3-cli"}).status_code == 200  # it comes with the password
    assert by_cli.get("/users/current").status_code == 401


def test_a_cli_secret_changes_no_secrets_of_others_either(
    sysadmin: Api, somebody: User, make_user: Callable[..., User]
) -> None:
    boss = User.objects.get(username="root-admin")
    set_cli_secret(user=boss, secret=CLI, cause=BY_SYSTEM)
    by_cli = api_as("root-admin", CLI)
    assert by_cli.get("/users").status_code == 200
    assert by_cli.put(f"/users/{somebody.pk}/password", {"new_password": NEW}).status_code == 403
    assert by_cli.put(f"/users/{somebody.pk}/cli_secret", {"secret": CLI}).status_code == 403
    assert sysadmin.put(f"/users/{somebody.pk}/cli_secret", {"secret": CLI}).status_code == 200
    session = Client()
    session.post("/c/login", {"principal": "root-admin", "password": PASSWORD})
    assert send(session, "PUT", f"/users/{somebody.pk}/password", b'{"new_password": "Changed-2-word"}') == 200


def test_being_refused_with_ones_own_cli_secret_throttles_nobody(somebody: User) -> None:
    set_cli_secret(user=somebody, secret=CLI, cause=BY_SYSTEM)
    by_cli = api_as("somebody", CLI)
    for _ in range(8):
        assert by_cli.put(f"/users/{somebody.pk}/cli_secret", {"secret": "Another-3-cli"}).status_code == 403
    assert api_as("somebody", PASSWORD).get("/users/current").status_code == 200


@pytest.mark.parametrize("address", ["/c/login", "/sign-in"])
def test_a_cli_secret_opens_no_session(somebody: User, address: str) -> None:
    set_cli_secret(user=somebody, secret=CLI, cause=BY_SYSTEM)
    fields = {"principal": "somebody", "username": "somebody"}
    client = Client()
    assert client.post(address, fields | {"password": CLI}).status_code == 401
    assert client.get("/api/v2.0/users/current").status_code == 401
    assert client.post(address, fields | {"password": PASSWORD}).status_code in {200, 302}


def test_a_cli_secret_is_deleted_by_its_owner_or_an_administrator(
    sysadmin: Api, user: Api, somebody: User, make_user: Callable[..., User]
) -> None:
    other = make_user("other")
    path = f"/users/{somebody.pk}/cli_secret"
    assert api_as("other", PASSWORD).delete(path).status_code == 403
    assert user.delete(f"/users/{other.pk}/cli_secret").status_code == 403
    assert user.delete(path).status_code == 404
    for api in (user, sysadmin):
        set_cli_secret(user=somebody, secret=CLI, cause=BY_SYSTEM)
        somebody.refresh_from_db()
        token = refresh_token_of(somebody)
        assert api.delete(path).status_code == 200
        assert api_as("somebody", CLI).get("/users/current").status_code == 401
        assert not is_good(token)  # who had the secret may have fetched it
    set_cli_secret(user=somebody, secret=CLI, cause=BY_SYSTEM)
    assert api_as("somebody", CLI).delete(path).status_code == 200


def test_refresh_tokens_are_listed_and_revoked(
    sysadmin: Api, user: Api, somebody: User, make_user: Callable[..., User]
) -> None:
    make_user("other")
    path = f"/users/{somebody.pk}/refresh_tokens"
    first, second, third = (refresh_token_of(somebody) for _ in range(3))
    listed = user.get(path)
    shown = listed.json()
    assert (listed["X-Total-Count"], len(shown)) == ("3", 3)
    assert (shown[0]["device"], shown[0]["client"]) == ("docker", "192.0.2.1")
    assert not {"hash", "token"} & shown[0].keys()
    assert sysadmin.get(path).json() == shown
    assert api_as("other", PASSWORD).get(path).status_code == 403
    assert api_as("other", PASSWORD).delete(f"{path}/{shown[0]['id']}").status_code == 403
    assert user.delete(f"{path}/{shown[0]['id']}").status_code == 200
    assert user.delete(f"{path}/{shown[0]['id']}").status_code == 404
    assert [is_good(token) for token in (first, second, third)] == [True, True, False]
    assert sysadmin.delete(path).status_code == 200
    assert not is_good(first)
    assert user.get(path).json() == []
    kinds = list(Event.objects.filter(kind__startswith="refresh_token").order_by("pk").values_list("kind", flat=True))
    assert kinds == ["refresh_token.created"] * 3 + ["refresh_token.revoked"] * 2


def test_refresh_tokens_of_another_are_not_reached_through_one_s_own_address(
    user: Api, somebody: User, make_user: Callable[..., User]
) -> None:
    other = make_user("other")
    token = refresh_token_of(other)
    row = RefreshToken.objects.get()
    assert user.delete(f"/users/{somebody.pk}/refresh_tokens/{row.pk}").status_code == 404
    assert is_good(token)


def test_all_sessions_and_tokens_of_a_user_are_ended(sysadmin: Api, somebody: User, browser: Client) -> None:
    token = refresh_token_of(somebody)
    assert sysadmin.delete(f"/users/{somebody.pk}/sessions").status_code == 200
    assert browser.get("/api/v2.0/users/current").status_code == 401
    assert not is_good(token)
    assert api_as("somebody", PASSWORD).get("/users/current").status_code == 200
