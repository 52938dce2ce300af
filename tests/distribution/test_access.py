"""Who may come in, what a stranger learns, and which names and methods there are."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable

import httpx
import pytest

from tests.distribution.client import Client, digest_of, refusal
from tests.distribution.conftest import ALICE, DORA, GUS, OLGA
from tests.support.people import Account
from tests.support.server import Server
from tests.support.waiting import wait_until

UNKNOWN = "sha256:" + "0" * 64


def paths(repository: str) -> list[str]:
    rest = ["manifests/v1", f"manifests/{UNKNOWN}", f"blobs/{UNKNOWN}", "tags/list", f"referrers/{UNKNOWN}"]
    return ["/v2/_catalog", "/v2/", *(f"/v2/{repository}/{each}" for each in rest)]


def challenge(answer: httpx.Response) -> str:
    assert answer.status_code == 401
    return str(answer.headers["www-authenticate"])


def test_nobody_sees_nothing_of_a_private_project_whether_it_is_there_or_not(
    alice: Client, nobody: Client, repository: str
) -> None:
    alice.push_image(tag="v1")
    for name in (repository, f"depot/none{secrets.token_hex(4)}", f"none{secrets.token_hex(4)}/app"):
        for path in paths(name):
            for method in ("GET", "HEAD"):
                assert nobody.http.request(method, path).status_code == 401
            assert refusal(nobody.http.get(path)) == (401, "UNAUTHORIZED")


def test_a_stranger_cannot_tell_a_private_project_from_none(
    alice: Client, clients: Callable[..., Client], repository: str
) -> None:
    alice.push_image(tag="v1")
    olga = clients(OLGA)
    for rest in ("manifests/v1", "tags/list", f"referrers/{UNKNOWN}"):
        there, not_there = olga.get(rest, on=repository), olga.get(rest, on="none-at-all/app")
        assert refusal(there) == refusal(not_there) == (403, "DENIED")
        assert there.text.replace(repository, "X") == not_there.text.replace("none-at-all/app", "X")


def test_everybody_may_pull_from_a_public_project(clients: Callable[..., Client]) -> None:
    name = f"public/r{secrets.token_hex(4)}"
    manifest = clients(ALICE, name).push_image(b"layer", tag="v1")
    nobody = clients(None, name)
    for rest in ("manifests/v1", f"blobs/{digest_of(b'layer')}", "tags/list", f"referrers/{digest_of(manifest)}"):
        assert nobody.get(rest).status_code == 200
    assert refusal(nobody.start_upload()) == (401, "UNAUTHORIZED")
    assert refusal(nobody.delete("manifests/v1")) == (401, "UNAUTHORIZED")


def test_the_challenge_says_where_a_token_comes_from_and_its_scope(nobody: Client, server: Server) -> None:
    realm = f'Bearer realm="{server.url}/service/token",service="harbor-registry"'
    name = nobody.repository
    assert challenge(nobody.http.get("/v2/")) == realm
    assert challenge(nobody.get("manifests/v1")) == f'{realm},scope="repository:{name}:pull"'
    assert challenge(nobody.start_upload()) == f'{realm},scope="repository:{name}:pull,push"'
    assert challenge(nobody.delete("manifests/v1")) == f'{realm},scope="repository:{name}:delete"'
    assert challenge(nobody.http.get("/v2/_catalog")) == f'{realm},scope="registry:catalog:*"'


def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(
    clients: Callable[..., Client], repository: str
) -> None:
    wrong = clients(Account("gus", "Wrong-Password-1"), repository).get("tags/list")
    unknown = clients(Account("nosuchuser", "Wrong-Password-1"), repository).get("tags/list")
    assert refusal(wrong) == refusal(unknown) == (401, "UNAUTHORIZED")
    assert wrong.text == unknown.text
    assert set(wrong.headers) == set(unknown.headers)


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Basic YQ==", "Bearer", "Bearer a.b.c", "Digest x", "x"])
def test_credentials_that_are_none_are_refused(nobody: Client, header: str) -> None:
    assert refusal(nobody.http.get("/v2/", headers={"authorization": header})) == (401, "UNAUTHORIZED")


def test_a_token_does_what_its_scope_says_and_no_more(alice: Client, nobody: Client, repository: str) -> None:
    alice.push_image(tag="v1")
    bearer = {"authorization": f"Bearer {alice.token(f'repository:{repository}:pull')}"}
    http = nobody.http
    assert http.get(alice.path("manifests/v1"), headers=bearer).status_code == 200
    for method, path in [
        ("POST", alice.path("blobs/uploads/")),
        ("PUT", alice.path("manifests/v1")),
        ("DELETE", alice.path("manifests/v1")),
        ("GET", f"/v2/{repository}-other/tags/list"),
        ("GET", "/v2/_catalog"),
    ]:
        answer = http.request(method, path, headers=bearer)
        assert 'error="insufficient_scope"' in challenge(answer)


def test_a_token_gives_no_right_that_its_user_has_not(
    alice: Client, clients: Callable[..., Client], nobody: Client, repository: str
) -> None:
    alice.push_image(tag="v1")
    bearer = {"authorization": f"Bearer {clients(GUS).token(f'repository:{repository}:pull,push,delete')}"}
    assert nobody.http.get(alice.path("manifests/v1"), headers=bearer).status_code == 200
    assert refusal(nobody.http.delete(alice.path("manifests/v1"), headers=bearer)) == (403, "DENIED")


def test_who_is_about_to_push_gets_to_the_answer_that_says_what_to_do(
    alice: Client, clients: Callable[..., Client], nobody: Client, repository: str
) -> None:
    """An answer to HEAD has no body: clients that look first would show a bare status."""
    alice.push_image(tag="v1")
    olga = clients(OLGA)
    for name in (repository, "none-at-all/app"):
        bearer = {"authorization": f"Bearer {olga.token(f'repository:{name}:pull,push')}"}
        for path in ("manifests/v1", f"blobs/{UNKNOWN}"):
            assert nobody.http.head(f"/v2/{name}/{path}", headers=bearer).status_code == 404
        push = nobody.http.post(f"/v2/{name}/blobs/uploads/", headers=bearer)
        assert refusal(push) == (403, "DENIED")
        assert push.json()["errors"][0]["message"] == (
            f"unauthorized to access repository: {name}, action: push: "
            f"project {name.partition('/')[0]} does not exist or you may not push to it; "
            "create it with POST /api/v2.0/projects"
        )


@pytest.mark.parametrize(
    ("who", "action"),
    [(None, "pull"), (None, "push"), (None, "delete"), (OLGA, "pull"), (OLGA, "push"), (OLGA, "delete"),
     (GUS, "push"), (GUS, "delete"), (DORA, "delete"), (Account("gus", "Wrong-Password-1"), "push")],
)  # fmt: skip
def test_every_refusal_begins_with_the_words_that_scripts_look_for(
    clients: Callable[..., Client], repository: str, who: Account | None, action: str
) -> None:
    client = clients(who, repository)
    requests = {
        "pull": [
            ("GET", "manifests/v1"),
            ("GET", f"blobs/{UNKNOWN}"),
            ("GET", "tags/list"),
            ("GET", f"referrers/{UNKNOWN}"),
        ],
        "push": [("POST", "blobs/uploads/"), ("PUT", "manifests/v1"), ("PATCH", "blobs/uploads/x")],
        "delete": [("DELETE", "manifests/v1"), ("DELETE", f"blobs/{UNKNOWN}")],
    }
    for method, rest in requests[action]:
        answer = client.http.request(method, client.path(rest))
        assert answer.status_code in {401, 403}
        words, _, advice = answer.json()["errors"][0]["message"].partition(f"action: {action}: ")
        assert words == f"unauthorized to access repository: {repository}, "
        assert advice


def test_a_token_for_less_is_refused_with_the_same_words(alice: Client, nobody: Client, repository: str) -> None:
    bearer = {"authorization": f"Bearer {alice.token(f'repository:{repository}:pull')}"}
    expired = {"authorization": "Bearer a.b.c"}
    for headers in (bearer, expired):
        answer = nobody.http.put(alice.path("manifests/v1"), headers=headers)
        message = answer.json()["errors"][0]["message"]
        assert message.startswith(f"unauthorized to access repository: {repository}, action: push: ")


def test_who_may_not_list_the_catalog_is_told_in_the_words_that_clients_look_for(alice: Client, nobody: Client) -> None:
    for client in (alice, nobody):
        message = client.http.get("/v2/_catalog").json()["errors"][0]["message"]
        assert message.startswith("unauthorized to list catalog: ")


def test_who_is_about_to_push_without_an_account_is_told_to_log_in(nobody: Client, repository: str) -> None:
    bearer = {"authorization": f"Bearer {nobody.token(f'repository:{repository}:pull,push')}"}
    assert nobody.http.head(nobody.path("manifests/v1"), headers=bearer).status_code == 404
    push = nobody.http.post(nobody.path("blobs/uploads/"), headers=bearer)
    assert refusal(push) == (401, "UNAUTHORIZED")
    assert "log in first" in push.text
    assert 'error="insufficient_scope"' in challenge(push)


def test_who_is_about_to_pull_learns_from_the_status_that_it_is_a_matter_of_rights(
    alice: Client, clients: Callable[..., Client], nobody: Client, repository: str
) -> None:
    alice.push_image(tag="v1")
    for name in (repository, "none-at-all/app"):
        bearer = {"authorization": f"Bearer {clients(OLGA).token(f'repository:{name}:pull')}"}
        assert nobody.http.head(f"/v2/{name}/manifests/v1", headers=bearer).status_code == 403


@pytest.mark.parametrize(
    "name",
    ["..", "depot/..", "depot/../foreign", "%2e%2e", "depot/%2e%2e/x",
     "depot%252Fx", "depot/a%00b", "depot/A",
     "depot/" + "x" * 251, "depot/" + "x/" * 3000 + "x", "_catalog", "depot/_catalog", "depot/x.", "depot//x", "depot",
     "depot/%ff", "depot/%0a", "%", "depot/a b"],
)  # fmt: skip
def test_a_name_that_is_none_is_refused_and_never_breaks_anything(alice: Client, server: Server, name: str) -> None:
    for rest in ("tags/list", "manifests/v1", f"blobs/{UNKNOWN}", f"referrers/{UNKNOWN}"):
        answer = alice.http.get(f"/v2/{name}/{rest}")
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.status_code not in {401, 403} or name in {"..", "depot/../foreign", "depot/.."}
    assert 400 <= alice.http.post(f"/v2/{name}/blobs/uploads/").status_code < 500


@pytest.mark.parametrize("path", ["blobs", "manifests/tags", "tags/list", "blobs/uploads", "referrers/manifests/blobs"])
def test_a_repository_may_be_called_like_a_part_of_the_api(alice: Client, path: str) -> None:
    name = f"depot/n{secrets.token_hex(4)}/{path}"
    manifest = alice.push_image(b"layer", tag="list", on=name)
    assert alice.get("manifests/list", on=name).content == manifest
    assert alice.get(f"blobs/{digest_of(b'layer')}", on=name).content == b"layer"
    assert alice.get("tags/list", on=name).json() == {"name": name, "tags": ["list"]}
    assert alice.get(f"referrers/{digest_of(manifest)}", on=name).json()["manifests"] == []
    location = alice.start_upload(on=name).headers["location"]
    assert alice.http.put(location, params={"digest": digest_of(b"x")}, content=b"x").status_code == 201


@pytest.mark.parametrize(
    ("method", "rest", "allowed"),
    [
        ("POST", "manifests/v1", "DELETE, GET, HEAD, PUT"),
        ("PATCH", f"blobs/{UNKNOWN}", "DELETE, GET, HEAD"),
        ("PUT", "tags/list", "GET, HEAD"),
        ("DELETE", f"referrers/{UNKNOWN}", "GET, HEAD"),
        ("BREW", "blobs/uploads/x", "DELETE, GET, PATCH, PUT"),
    ],
)
def test_a_method_that_there_is_not_is_answered_with_those_that_there_are(
    alice: Client, method: str, rest: str, allowed: str
) -> None:
    answer = alice.http.request(method, alice.path(rest))
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_a_path_that_there_is_not(alice: Client) -> None:
    for path in ("/v2/x", "/v2/depot/app/nothing/here", "/v2//"):
        assert alice.http.get(path).status_code == 404


def test_addresses_of_docker_s_first_protocol_are_not_there_and_nothing_to_warn_of(server: Server) -> None:
    before = server.log_size_bytes()
    for path in ("/v1/_ping", "/v1/search?q=x", "/api/v2.0/nothing", "/nothing"):
        assert httpx.get(f"{server.url}{path}").status_code in {404, 302}
    httpx.get(f"{server.url}/api/v2.0/ping")
    wait_until(lambda: "/api/v2.0/ping" in _log_since(server, before), what="the last request is logged")
    lines = [json.loads(line) for line in _log_since(server, before).splitlines()]
    assert [line for line in lines if line["level"] != "info"] == []


def _log_since(server: Server, start: int) -> str:
    with server.log_path.open("rb") as log:
        log.seek(start)
        return log.read().decode()
