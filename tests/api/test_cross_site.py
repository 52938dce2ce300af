"""What a browser sends on behalf of another site is refused, whatever the caller signs in with."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from django.test import Client

from rbac.models import User
from registry_core.http.cross_site import is_foreign
from tests.api.conftest import PASSWORD, Api
from tests.api.routes import routes
from tests.conftest import ServerFactory
from tests.support.people import Account, admin, create_project, create_user
from tests.support.registry import sign_in
from tests.support.server import Server

FOREIGN: list[dict[str, str]] = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://testserver.evil.example"},
    {"Origin": "http://testserver:8080"},
    {"Origin": "https://testserver"},
    {"Origin": "http://"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "Cross-Site"},
    {"Sec-Fetch-Site": "none", "Origin": "https://evil.example"},
]
OWN: list[dict[str, str]] = [
    {},
    {"Origin": "http://testserver"},
    {"Origin": "http://TESTSERVER:80"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://testserver"},
    {"Sec-Fetch-Site": "none"},
]
BODY = {"username": "pwned", "password": PASSWORD, "email": "pwned@example.org", "realname": "p"}


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_change_for_another_site_is_refused_though_basic_credentials_come_along(
    sysadmin: Api, headers: dict[str, str]
) -> None:
    refused = sysadmin.post("/users", BODY, **headers)
    assert refused.status_code == 403
    assert "another site" in refused.json()["errors"][0]["message"]
    assert not User.objects.filter(username="pwned").exists()
    assert sysadmin.get("/users/current", **headers).status_code == 200


@pytest.mark.parametrize("headers", OWN)
def test_a_change_from_our_own_pages_or_without_a_browser_is_let_in(sysadmin: Api, headers: dict[str, str]) -> None:
    assert sysadmin.post("/users", BODY, **headers).status_code == 201


def test_every_address_that_changes_something_refuses_another_site(sysadmin: Api) -> None:
    let_in = []
    client: Client = sysadmin.client
    client.raise_request_exception = False
    for route in routes():
        address = "/" + route.at(["1"] * 8)
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer: Any = client.generic(method, address, headers=sysadmin.headers | {"Origin": "https://evil.example"})
            if answer.status_code != 403:
                let_in.append(f"{method} {address}: {answer.status_code}")
    assert not let_in


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data; boundary=x", "TEXT/PLAIN;charset=utf-8"])
def test_a_form_is_not_taken_for_json(sysadmin: Api, content_type: str) -> None:
    answer = sysadmin.client.generic(
        "POST", "/api/v2.0/users", b'{"username":"a"}', content_type=content_type, headers=sysadmin.headers
    )
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    ("content_type", "headers", "status"),
    [
        ("", {}, 201),
        ("application/x-www-form-urlencoded", {}, 201),  # what curl says by itself
        ("application/json", {"Origin": "http://testserver"}, 201),
        ("application/merge-patch+json", {"Origin": "http://testserver"}, 201),
        ("application/x-www-form-urlencoded", {"Origin": "http://testserver"}, 415),
        ("application/x-www-form-urlencoded", {"Sec-Fetch-Site": "same-origin"}, 415),
    ],
)
def test_other_clients_may_say_what_they_like_of_their_json(
    sysadmin: Api, content_type: str, headers: dict[str, str], status: int
) -> None:
    content = b'{"username":"new","password":"Portolan-1","email":"new@example.org","realname":"n"}'
    answer = sysadmin.client.generic(
        "POST", "/api/v2.0/users", content, content_type=content_type, headers=sysadmin.headers | headers
    )
    assert answer.status_code == status, answer.content


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "none"}, {"Upgrade-Insecure-Requests": "1"}, {"Origin": "http://testserver"}]
)
def test_a_browser_is_not_made_to_ask_for_a_password_and_keep_it(anonymous: Api, headers: dict[str, str]) -> None:
    challenged = anonymous.get("/users/current")
    assert challenged.status_code == 401
    assert challenged["WWW-Authenticate"].startswith("Basic")
    plain = anonymous.get("/users/current", **headers)
    assert plain.status_code == 401
    assert "WWW-Authenticate" not in plain


@pytest.mark.parametrize(
    ("origin", "own", "expected"),
    [
        ("https://registry.example", "https://registry.example/prefix", False),
        ("https://registry.example:443", "https://registry.example", False),
        ("https://REGISTRY.example", "https://registry.example", False),
        ("https://registry.example.evil", "https://registry.example", True),
        ("https://registry.example@evil", "https://registry.example", True),
        ("https://[::1]:5080", "https://[::1]:5080", False),
        ("https://[::1", "https://registry.example", True),
        ("https://registry.example:x", "https://registry.example", True),
        ("file://", "https://registry.example", True),
    ],
)
def test_an_origin_is_compared_as_a_whole(origin: str, own: str, expected: bool) -> None:
    assert is_foreign({"origin": origin}, own_origins=(own,)) is expected


def _asked(server: Server, account: Account, headers: dict[str, str]) -> dict[str, int]:
    basic = (account.name, account.password)
    name = f"{account.name}p/app"
    token = sign_in(server, account, f"repository:{name}:pull,push,delete")
    form = {"grant_type": "password", "username": account.name, "password": account.password}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        return {
            "an upload": client.post(f"/v2/{name}/blobs/uploads/", auth=basic).status_code,
            "an upload with a token": client.post(f"/v2/{name}/blobs/uploads/", headers=token).status_code,
            "a mount": client.post(
                f"/v2/{name}/blobs/uploads/?mount=sha256:{'0' * 64}&from={name}", auth=basic
            ).status_code,
            "a manifest": client.put(f"/v2/{name}/manifests/v1", content=b"{}", auth=basic).status_code,
            "a deletion": client.delete(f"/v2/{name}/manifests/v1", auth=basic).status_code,
            "a token by a form": client.post("/service/token", data=form).status_code,
            "a refresh token": client.get("/service/token?offline_token=true", auth=basic).status_code,
            "a label": client.post("/api/v2.0/labels", json={"name": "x", "scope": "g"}, auth=basic).status_code,
            "a session": client.post(
                "/c/login", data={"principal": account.name, "password": account.password}
            ).status_code,
        }


def test_the_registry_s_own_endpoints_refuse_another_site_too(start_server: ServerFactory, unique: str) -> None:
    server = start_server(PORTOLAN_REFRESH_TOKENS="true")
    account = create_user(server, unique)
    create_project(server, f"{unique}p", by=account.name)
    refused = _asked(server, account, {"Origin": "https://evil.example"})
    assert {way: status for way, status in refused.items() if status != 403} == {}
    refused = _asked(server, account, {"Sec-Fetch-Site": "same-site"})
    assert {way: status for way, status in refused.items() if status != 403} == {}
    for headers in ({}, {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}):
        answered = _asked(server, account, headers)
        assert {way for way, status in answered.items() if status == 403} == {"a label"}  # which he may not make
    with httpx.Client(base_url=server.url, timeout=60) as client:
        assert "www-authenticate" in client.get("/service/token").headers
        assert "www-authenticate" not in client.get("/service/token", headers={"Sec-Fetch-Site": "none"}).headers
        assert client.get("/service/token", auth=(admin(server).name, "Wrong-1-word")).status_code == 401
