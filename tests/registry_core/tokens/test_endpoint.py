"""`/service/token`: who gets which token, through the request and the answer."""

from __future__ import annotations

import asyncio
import hashlib
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from rbac.models import Role
from rbac.services import authentication
from rbac.services.throttle import Throttle
from rbac.services.users import delete_user, revoke_sessions, set_password
from registry_core.access import authority, refresh_tokens
from registry_core.config import get_config
from registry_core.content.models import Project, Repository
from registry_core.distribution import token as endpoint
from registry_core.distribution.token import FIELDS_MAX, FORM_MAX_BYTES, service_token
from registry_core.http.messages import Request, Response
from registry_core.tokens.jwt import Grant, verify
from tests.rbac import arrange
from tests.support.operations import BY_SYSTEM, on_behalf_of

pytestmark = pytest.mark.django_db(transaction=True)
WRONG = "Wrong1Password"


@pytest.fixture(autouse=True)
def fresh_throttle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "_throttle", Throttle())


def ask(method: str, query: str, headers: dict[str, str], body: bytes = b"") -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        yield body

    request = Request(
        method, "/service/token", query, headers, "192.0.2.1", "https", "localhost", "test", "https://x", chunks
    )
    return asyncio.run(service_token(request))


def basic(name: str, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + b64encode(f"{name}:{secret}".encode()).decode()}


def get(*scopes: str, headers: dict[str, str] | None = None, **fields: str) -> Response:
    query = urlencode({"service": "harbor-registry", "scope": scopes, **fields}, doseq=True)
    return ask("GET", query, headers or {})


def post(**fields: str) -> Response:
    return ask("POST", "", {}, urlencode({"service": "harbor-registry", **fields}).encode())


def content(response: Response) -> Any:
    assert response.status == 200, response.body
    return json.loads(response.body)


def grants(response: Response) -> list[Grant]:
    return list(verify(content(response)["token"]).access)


def actions(response: Response) -> list[tuple[str, ...]]:
    return [grant.actions for grant in grants(response)]


def test_answer_has_the_token_twice_its_life_and_its_time() -> None:
    arrange.project("public", is_public=True)
    answer = content(get("repository:public/a:pull"))
    assert answer["token"] == answer["access_token"]
    assert answer["expires_in"] == 1800
    assert answer["issued_at"].endswith("Z")
    assert "refresh_token" not in answer


def test_nobody_asking_for_nothing_is_told_to_sign_in() -> None:
    response = get()
    assert response.status == 401
    assert dict(response.headers)["www-authenticate"].startswith("Basic ")
    assert json.loads(response.body)["errors"][0]["code"] == "UNAUTHORIZED"


def test_anonymous_gets_pull_on_public_projects_and_nothing_else() -> None:
    arrange.project("public", is_public=True)
    arrange.project("private")
    asked = ["public/a", "private/a", "none/a", "host:5000/public/a", "public", "public/../private/a", "public/A"]
    response = get(*(f"repository:{name}:pull,push,delete,*" for name in asked), "registry:catalog:*")
    assert actions(response) == [("pull",), *[()] * 7]


def test_grant_without_rights_does_not_tell_that_the_repository_exists() -> None:
    private = arrange.project("private")
    Repository.objects.create(project=private, name="a")
    assert grants(get("repository:private/a:pull")) == [Grant("repository", "private/a", ())]


def test_member_gets_what_is_asked_and_held() -> None:
    own = arrange.project("own")
    repository = Repository.objects.create(project=own, name="a")
    arrange.member("anna", own, Role.DEVELOPER)
    response = get("repository:own/a:push,delete", "repository:own/new:*", headers=basic("anna", arrange.PASSWORD))
    assert grants(response) == [
        Grant("repository", "own/a", ("push",), own.pk, repository.pk),
        Grant("repository", "own/new", ("pull", "push"), own.pk, None),
    ]


def test_pull_token_lists_no_catalog_and_deletes_nothing() -> None:
    own = arrange.project("own")
    arrange.member("anna", own, Role.PROJECT_ADMIN)
    response = get("repository:own/a:pull", "registry:catalog:*", headers=basic("anna", arrange.PASSWORD))
    assert actions(response) == [("pull",), ()]
    assert not verify(content(response)["token"]).may(type="registry", name="catalog", action="*")


def test_administrator_lists_the_catalog() -> None:
    arrange.user("boss", is_sysadmin=True)
    response = get("registry:catalog:*", headers=basic("boss", arrange.PASSWORD))
    assert verify(content(response)["token"]).may(type="registry", name="catalog", action="*")


def test_robot_gets_its_rights() -> None:
    own = arrange.project("own")
    _, secret = arrange.robot("ci", arrange.allow("push", on=own), of=own)
    response = get("repository:own/a:pull,push", "repository:other/a:pull", headers=basic("robot$own+ci", secret))
    assert actions(response) == [("push",), ()]


@pytest.mark.parametrize(
    "header",
    [
        basic("anna", WRONG)["authorization"],
        basic("nobody", WRONG)["authorization"],
        basic("nul\x00", WRONG)["authorization"],
        basic("robot$none", WRONG)["authorization"],
        "Basic !!!",
        "Basic " + b64encode(b"\xff\xfe:x").decode(),
        "Basic " + b64encode(b"no colon").decode(),
        "Basic",
        "Bearer x.y.z",
    ],
)
def test_wrong_credentials_are_all_answered_alike(header: str) -> None:
    arrange.user("anna")
    arrange.project("public", is_public=True)
    response = get("repository:public/a:pull", headers={"authorization": header})
    assert response.status == 401
    assert json.loads(response.body) == {
        "errors": [{"code": "UNAUTHORIZED", "message": "the user name or the password is wrong"}]
    }


def test_too_many_guesses_are_told_when_to_come_back() -> None:
    arrange.user("anna")
    statuses = [get(headers=basic("anna", WRONG)).status for _ in range(6)]
    response = get(headers=basic("anna", arrange.PASSWORD))
    assert statuses == [401] * 5 + [429]
    assert response.status == 429
    assert int(dict(response.headers)["retry-after"]) >= 1


@pytest.fixture
def refresh_tokens_on(monkeypatch: pytest.MonkeyPatch) -> None:
    config = get_config().model_copy(update={"refresh_tokens": True})
    monkeypatch.setattr(endpoint, "get_config", lambda: config)


def offline(name: str, secret: str) -> list[Response]:
    """Both ways in which a client asks for a refresh token besides a bearer token."""
    form = {"grant_type": "password", "username": name, "password": secret, "access_type": "offline"}
    return [get(headers=basic(name, secret), offline_token="true", client_id="docker"), post(**form)]


def test_nobody_gets_a_refresh_token_unless_the_setting_says_so() -> None:
    arrange.user("anna")
    for answer in offline("anna", arrange.PASSWORD):
        assert "refresh_token" not in content(answer)


@pytest.mark.usefixtures("refresh_tokens_on")
def test_with_the_setting_users_get_refresh_tokens_and_robots_do_not() -> None:
    arrange.user("anna")
    own = arrange.project("own")
    _, secret = arrange.robot("ci", arrange.allow("push", on=own), of=own)
    for answer in offline("anna", arrange.PASSWORD):
        assert content(answer)["refresh_token"]
    for answer in offline("robot$own+ci", secret):
        assert "refresh_token" not in content(answer)


def test_refresh_token_of_before_the_setting_was_turned_off_works_on() -> None:
    anna = arrange.user("anna")
    issuer = refresh_tokens()
    assert issuer is not None
    token = issuer.issue_refresh_token(device="docker", cause=on_behalf_of(anna.subject))
    assert content(post(grant_type="refresh_token", refresh_token=token))["refresh_token"] == token


@pytest.mark.usefixtures("refresh_tokens_on")
def test_password_grant_with_a_refresh_token_that_dies_with_the_password() -> None:
    anna = arrange.user("anna")
    first = content(
        post(
            grant_type="password", username="anna", password=arrange.PASSWORD, access_type="offline", client_id="docker"
        )
    )
    refreshed = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    assert verify(content(post(**refreshed))["access_token"]).subject == anna.subject
    set_password(user=anna, password="Another1Password", cause=on_behalf_of(anna.subject))
    assert post(**refreshed).status == 401


@pytest.mark.usefixtures("refresh_tokens_on")
def test_refresh_token_by_get_dies_with_the_sessions_and_with_the_user() -> None:
    anna = arrange.user("anna")
    for end in (revoke_sessions, delete_user):
        token = content(get(headers=basic("anna", arrange.PASSWORD), offline_token="true"))["refresh_token"]
        assert post(grant_type="refresh_token", refresh_token=token).status == 200
        end(user=anna, cause=BY_SYSTEM)
        assert post(grant_type="refresh_token", refresh_token=token).status == 401


def test_token_of_before_a_password_change_has_an_older_credential_version() -> None:
    anna = arrange.user("anna")
    claims = verify(content(get(headers=basic("anna", arrange.PASSWORD)))["token"])
    assert claims.cv == authority().credential_version(claims.subject)
    set_password(user=anna, password="Another1Password", cause=on_behalf_of(anna.subject))
    assert claims.cv != authority().credential_version(claims.subject)


def test_project_made_again_under_its_name_gets_nothing_from_an_old_token() -> None:
    old = arrange.project("own")
    arrange.member("anna", old, Role.PROJECT_ADMIN)
    claims = verify(content(get("repository:own/a:pull,push", headers=basic("anna", arrange.PASSWORD)))["token"])
    Project.objects.filter(pk=old.pk).update(deleted_at="2026-01-01T00:00:00Z")
    new = arrange.project("own")
    on_new = claims.actions_on(name="own/a", project_id=new.pk, repository_id=None, created_at=None)
    on_old = claims.actions_on(name="own/a", project_id=old.pk, repository_id=None, created_at=None)
    assert not on_new
    assert on_old == {"pull", "push"}
    assert actions(get("repository:own/a:pull", headers=basic("anna", arrange.PASSWORD))) == [()]


@pytest.mark.parametrize(
    "fields",
    [{}, {"grant_type": "client_credentials"}, {"grant_type": "password", "service": "other"}],
)
def test_form_that_asks_for_something_else_is_a_bad_request(fields: dict[str, str]) -> None:
    response = post(**fields)
    assert response.status == 400
    assert json.loads(response.body)["errors"][0]["message"]


def test_form_that_is_too_large_is_refused() -> None:
    assert ask("POST", "", {}, b"x" * (FORM_MAX_BYTES + 1)).status == 413


@pytest.mark.parametrize("body", [b"\xff\xfe", b"%", b"&" * 500, b"grant_type=refresh_token&refresh_token=%00%ff"])
def test_form_of_nonsense_never_breaks(body: bytes) -> None:
    assert ask("POST", "", {}, body).status in {400, 401}


def test_token_has_every_scope_that_is_allowed_however_many_there_are() -> None:
    own = arrange.project("own")
    arrange.member("anna", own, Role.DEVELOPER)
    names = [f"own/r{number}" for number in range(1500)]
    asked = [f"repository:{name}:pull,push" for name in names]
    for scopes in (asked, [" ".join(asked)]):
        response = get(*scopes, headers=basic("anna", arrange.PASSWORD))
        assert [(grant.name, grant.actions) for grant in grants(response)] == [
            (name, ("pull", "push")) for name in names
        ]


def test_many_scopes_take_no_more_statements_than_one() -> None:
    for number in range(30):
        arrange.project(f"public{number}", is_public=True)
    with CaptureQueriesContext(connection) as one:
        get("repository:public0/a:pull")
    with CaptureQueriesContext(connection) as many:
        answer = get(*(f"repository:public{number}/a{number}:pull" for number in range(30)))
    assert actions(answer) == [("pull",)] * 30
    assert len(many) == len(one)


def test_more_than_a_token_may_hold_is_an_error_that_says_so() -> None:
    """Names that share nothing, so that nothing about them can be shortened."""
    names = [f"a/{hashlib.shake_256(bytes([n // 256, n % 256])).hexdigest(120)}" for n in range(430)]
    response = get(*(f"repository:{name}:pull" for name in names))
    assert response.status == 400
    assert json.loads(response.body) == {
        "errors": [
            {
                "code": "BAD_REQUEST",
                "message": "a token for these 430 scopes would be larger than 65536 characters: "
                "ask for fewer repositories at a time",
            }
        ]
    }


def test_more_parameters_than_any_client_has_are_an_error_that_says_so() -> None:
    response = ask("GET", "&" * FIELDS_MAX, {})
    assert response.status == 400
    assert f"more than {FIELDS_MAX} parameters" in json.loads(response.body)["errors"][0]["message"]
