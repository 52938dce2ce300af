"""Lists of a running registry: what is remembered of them is never older than what was answered before."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.people import admin, create_project
from tests.support.registry import make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server
from tests.support.waiting import wait_until


@pytest.fixture
def registry(server: Server, unique: str) -> httpx.Client:
    create_project(server, unique)
    headers = sign_in(server, admin(server), f"repository:{unique}/app:pull,push")
    return httpx.Client(base_url=server.url, headers=headers, timeout=60)


@pytest.fixture
def api(server: Server) -> httpx.Client:
    account = admin(server)
    return httpx.Client(base_url=f"{server.url}/api/v2.0", auth=(account.name, account.password), timeout=60)


def push(registry: httpx.Client, repository: str, tag: str) -> str:
    image = make_image(layer_bytes=100)
    for blob in image.blobs:
        push_blob(registry, repository, blob)
    put_manifest(registry, repository, tag, image)
    return image.digest


def artifacts(api: httpx.Client, project: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        api.get(f"/projects/{project}/repositories/app/artifacts", params={"with_label": "true"})
        .raise_for_status()
        .json()
    )
    return found


def test_a_push_a_label_and_a_deletion_are_in_the_next_list(
    registry: httpx.Client, api: httpx.Client, unique: str
) -> None:
    label = int(api.post("/labels", json={"name": unique, "scope": "g"}).headers["location"].rpartition("/")[2])
    for number in range(5):
        digest = push(registry, f"{unique}/app", f"v{number}")
        shown = artifacts(api, unique)
        assert (len(shown), shown[0]["digest"], shown[0]["type"]) == (number + 1, digest, "IMAGE")
        assert shown[0]["extra_attrs"] == {"architecture": "amd64", "os": "linux"}
    path = f"/projects/{unique}/repositories/app"
    api.post(f"{path}/artifacts/v4/labels", json={"id": label}).raise_for_status()
    assert [shown["name"] for shown in artifacts(api, unique)[0]["labels"]] == [unique]
    api.put(f"/labels/{label}", json={"name": f"{unique}-renamed"}).raise_for_status()
    assert [shown["name"] for shown in artifacts(api, unique)[0]["labels"]] == [f"{unique}-renamed"]
    api.delete(f"/labels/{label}").raise_for_status()
    assert artifacts(api, unique)[0]["labels"] is None
    api.delete(f"{path}/artifacts/v4").raise_for_status()
    assert len(artifacts(api, unique)) == 4
    api.delete(path).raise_for_status()
    assert api.get(f"{path}/artifacts").status_code == 404
    digest = push(registry, f"{unique}/app", "v1")
    assert [shown["digest"] for shown in artifacts(api, unique)] == [digest]


def test_pulls_are_counted_for_the_repository(registry: httpx.Client, api: httpx.Client, unique: str) -> None:
    push(registry, f"{unique}/app", "v1")
    for _ in range(3):
        registry.get(f"/v2/{unique}/app/manifests/v1").raise_for_status()

    def count() -> int:
        return int(api.get(f"/projects/{unique}/repositories/app").json()["pull_count"])

    wait_until(lambda: count() == 3, what="the pulls are counted", within_s=60)
    api.delete(f"/projects/{unique}/repositories/app/artifacts/v1").raise_for_status()
    assert count() == 3


def test_the_number_of_repositories_is_that_of_this_moment(
    registry: httpx.Client, api: httpx.Client, server: Server, unique: str
) -> None:
    def total(q: str = "") -> int:
        return int(api.get(f"/projects/{unique}/repositories", params={"q": q}).headers["x-total-count"])

    for number in range(4):
        name = f"{unique}/app{number}"
        with httpx.Client(
            base_url=server.url, headers=sign_in(server, admin(server), f"repository:{name}:pull,push"), timeout=60
        ) as pushing:
            push(pushing, name, "v1")
        assert (total(), total("name=~app"), total("name=~app0"), total("pull_count=0")) == (
            number + 1, number + 1, 1, number + 1,
        )  # fmt: skip
    api.delete(f"/projects/{unique}/repositories/app0").raise_for_status()
    assert (total(), total("name=~app"), total("name=~app0"), total("pull_count=0")) == (3, 3, 0, 3)
