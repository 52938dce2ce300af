"""Tokens for many repositories at once, as clients that mirror a registry ask for them."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import httpx
import pytest

from registry_core.tokens.jwt import TOKEN_MAX_CHARS
from tests.distribution.client import Client, refusal
from tests.distribution.conftest import ALICE


def names(count: int) -> list[str]:
    mark = secrets.token_hex(4)
    return [f"depot/{mark}-{number:04}" for number in range(count)]


def scopes(asked: list[str]) -> list[str]:
    return [f"repository:{name}:pull,push" for name in asked]


@pytest.mark.parametrize("count", [101, 250, 1000])
def test_a_token_opens_the_last_of_all_repositories_that_were_asked_for(
    alice: Client, nobody: Client, count: int
) -> None:
    asked = names(count)
    bearer = {"authorization": f"Bearer {alice.token(*scopes(asked))}"}
    for name in (asked[0], asked[count // 2], asked[-1]):
        assert nobody.http.post(f"/v2/{name}/blobs/uploads/", headers=bearer).status_code == 202


def test_a_form_asks_for_as_many(alice: Client, nobody: Client) -> None:
    asked = names(1000)
    form = {"grant_type": "password", "username": ALICE.name, "password": ALICE.password, "service": "harbor-registry"}
    answer = nobody.http.post("/service/token", data=form | {"scope": " ".join(scopes(asked))})
    bearer = {"authorization": f"Bearer {answer.json()['access_token']}"}
    assert nobody.http.post(f"/v2/{asked[-1]}/blobs/uploads/", headers=bearer).status_code == 202


def test_a_header_of_the_largest_token_reaches_the_registry(nobody: Client) -> None:
    bearer = {"authorization": "Bearer " + "x" * TOKEN_MAX_CHARS}
    assert refusal(nobody.get("tags/list", headers=bearer)) == (401, "UNAUTHORIZED")


def test_nobody_asks_for_1500_repositories_without_keeping_others_waiting(
    nobody: Client, clients: Callable[..., Client]
) -> None:
    """The fixture of this folder looks at the event loop."""
    asked = [f"public/{name.partition('/')[2]}" for name in names(1500)]
    answer = nobody.http.get("/service/token", params={"scope": " ".join(f"repository:{name}:pull" for name in asked)})
    assert answer.status_code == 200
    bearer = {"authorization": f"Bearer {answer.json()['token']}"}
    clients(ALICE).push_image(tag="v1", on=asked[-1])
    with httpx.Client(base_url=nobody.http.base_url) as http:
        assert http.get(f"/v2/{asked[-1]}/manifests/v1", headers=bearer).status_code == 200
