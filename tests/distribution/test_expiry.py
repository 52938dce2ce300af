"""A robot ends by the clock alone, and at that moment: wherever it is remembered, on every worker, by every way in."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import pytest

from tests.conftest import ServerFactory
from tests.support.machines import WATCHED
from tests.support.people import Account, admin, api_of, create_project
from tests.support.registry import TIMEOUT_S, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server
from tests.support.waiting import wait_until

WORKERS = 2
LIVES_S = 12  # long enough to be remembered by every worker in every way
PULL_PUSH = ["repository pull", "repository push", "repository list", "artifact list", "member list", "member create",
             "robot create", "label create", "project read", "metadata read"]  # fmt: skip
Ask = Callable[[httpx.Client], httpx.Response]


@dataclass(frozen=True)
class Robot:
    """A robot of a project, which ends at `expires_at_s` (seconds since the epoch)."""

    account: Account
    project: str
    expires_at_s: int


@pytest.fixture(scope="module")
def server(start_server: ServerFactory) -> Server:
    return start_server(PORTOLAN_WORKERS=str(WORKERS), **WATCHED)


@pytest.fixture
def robot(server: Server, unique: str) -> Robot:
    create_project(server, unique)
    token = sign_in(server, admin(server), f"repository:{unique}/app:pull,push")
    with httpx.Client(base_url=server.url, headers=token) as client:
        image = make_image(layer_bytes=64)
        for blob in image.blobs:
            push_blob(client, f"{unique}/app", blob)
        put_manifest(client, f"{unique}/app", "latest", image)
    expires_at_s = int(time.time()) + LIVES_S
    access = [dict(zip(("resource", "action"), right.split(), strict=True)) for right in PULL_PUSH]
    with api_of(server, admin(server)) as api:
        made = api.post(
            f"projects/{unique}/robots",
            json={"name": "short", "expires_at": expires_at_s, "access": access},
            headers={"x-is-resource-name": "true"},
        )
    assert made.status_code == 201, made.text
    return Robot(Account(made.json()["name"], made.json()["secret"]), unique, expires_at_s)


def ways(server: Server, robot: Robot) -> dict[str, Ask]:
    """What the robot may do, by each kind of address; with its own credentials, and with a token that it fetched."""
    api, name = "/api/v2.0", robot.project
    by_name = {"x-is-resource-name": "true"}
    basic = httpx.BasicAuth(robot.account.name, robot.account.password)
    token = sign_in(server, robot.account, f"repository:{name}/app:pull,push")
    return {
        "REST, reading": lambda c: c.get(f"{api}/projects/{name}/repositories", auth=basic),
        "REST, a list of projects": lambda c: c.get(f"{api}/users/current/permissions?scope=/system", auth=basic),
        "REST, writing": lambda c: c.post(
            f"{api}/projects/{name}/members", json={"role_id": 99}, headers=by_name, auth=basic
        ),
        "a pull with a secret": lambda c: c.get(f"/v2/{name}/app/manifests/latest", auth=basic),
        "a push with a secret": lambda c: c.post(f"/v2/{name}/app/blobs/uploads/", auth=basic),
        "the base": lambda c: c.get("/v2/", auth=basic),
        "a pull with a token": lambda c: c.get(f"/v2/{name}/app/manifests/latest", headers=token),
        "a push with a token": lambda c: c.post(f"/v2/{name}/app/blobs/uploads/", headers=token),
        "a token": lambda c: c.get("/service/token", params={"scope": f"repository:{name}/app:pull"}, auth=basic),
        "a token by a form": lambda c: c.post(
            "/service/token",
            data={"grant_type": "password", "username": robot.account.name, "password": robot.account.password},
        ),
    }


def asked_of_each_worker(server: Server, ask: Ask) -> set[int]:
    """The statuses that all workers answer, each request on a connection of its own."""
    statuses: dict[str, int] = {}

    def has_all() -> bool:
        headers = {"x-portolan-worker": "1"}
        with httpx.Client(base_url=server.url, headers=headers, timeout=TIMEOUT_S) as client:
            answer = ask(client)
        statuses[answer.headers["x-portolan-worker"]] = answer.status_code
        return len(statuses) == WORKERS

    wait_until(has_all, what="every worker has answered", within_s=60)
    return set(statuses.values())


def test_a_robot_that_expired_is_refused_by_every_way_in_on_every_worker(server: Server, robot: Robot) -> None:
    asked = ways(server, robot)
    before = {way: asked_of_each_worker(server, ask) for way, ask in asked.items()}
    assert time.time() < robot.expires_at_s, "too slow to warm the caches before the robot ends"
    assert {way: statuses for way, statuses in before.items() if statuses & {401, 403}} == {}

    wait_until(lambda: time.time() >= robot.expires_at_s, what="the robot ends", within_s=LIVES_S + 1)

    after = {way: asked_of_each_worker(server, ask) for way, ask in asked.items()}
    assert after == {key: {401} for key in asked}
