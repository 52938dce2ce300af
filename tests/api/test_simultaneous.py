"""Two who do at once what only one of them can: the REST API of a running server has one winner, and no 5xx.

Races about rights are in test_races.py, those about content alone in tests/faults/test_races.py.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import httpx
import pytest

from tests.support.extent import IS_FULL
from tests.support.people import PASSWORD, Account, admin, create_project
from tests.support.registry import digest_of, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server

ROUNDS = 40 if IS_FULL else 8
PUSHERS = 20
API = "/api/v2.0"
Act = Callable[[], httpx.Response]


@pytest.fixture
def connect(server: Server) -> Iterator[Callable[[Account], httpx.Client]]:
    """A connection of one's own for each who asks."""
    with ExitStack() as stack:

        def make(account: Account) -> httpx.Client:
            auth = (account.name, account.password)
            return stack.enter_context(httpx.Client(base_url=server.url, auth=auth, timeout=60))

        yield make


@pytest.fixture
def pair(server: Server, connect: Callable[[Account], httpx.Client]) -> tuple[httpx.Client, httpx.Client]:
    """Two connections of the administrator, open already."""
    clients = connect(admin(server)), connect(admin(server))
    for client in clients:
        client.get(f"{API}/users/current").raise_for_status()
    return clients


def at_once(acts: Sequence[Act]) -> list[httpx.Response]:
    """The answers to all, sent at the same moment. None of them is a 5xx."""
    together = threading.Barrier(len(acts))

    def run(act: Act) -> httpx.Response:
        together.wait(60)
        return act()

    with ThreadPoolExecutor(len(acts)) as pool:
        answers = list(pool.map(run, acts))
    for answer in answers:
        assert answer.status_code < 500, (answer.request.url, answer.text)
    return answers


def statuses(answers: Sequence[httpx.Response]) -> list[int]:
    return sorted(answer.status_code for answer in answers)


def test_a_copy_that_is_made_twice_at_once_is_one_copy(
    server: Server, pair: tuple[httpx.Client, httpx.Client], unique: str
) -> None:
    create_project(server, unique)
    image = make_image(layer_bytes=300)
    headers = sign_in(server, admin(server), f"repository:{unique}/app:pull,push")
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as registry:
        for blob in image.blobs:
            push_blob(registry, f"{unique}/app", blob)
        for tag in ("v1", "stable"):
            put_manifest(registry, f"{unique}/app", tag, image)
    for number in range(ROUNDS):
        copies = f"{API}/projects/{unique}/repositories/copy-{number}/artifacts"
        sources = (f"{unique}/app:v1", f"{unique}/app@{image.digest}")
        answers = at_once(
            [partial(http.post, copies, params={"from": source}) for http, source in zip(pair, sources, strict=True)]
        )
        assert statuses(answers) == [201, 201]
        (copied,) = pair[0].get(copies).json()
        assert (copied["digest"], {tag["name"] for tag in copied["tags"]}) == (image.digest, {"v1", "stable"})


def test_of_two_projects_of_one_name_one_is_made(pair: tuple[httpx.Client, httpx.Client], unique: str) -> None:
    for number in range(ROUNDS):
        body = {"project_name": f"{unique}-{number}"}
        answers = at_once([partial(http.post, f"{API}/projects", json=body) for http in pair])
        assert statuses(answers) == [201, 409]
        found = pair[0].get(f"{API}/projects", params={"name": body["project_name"]})
        assert found.headers["x-total-count"] == "1"


def test_of_two_things_of_one_name_one_is_made(pair: tuple[httpx.Client, httpx.Client], unique: str) -> None:
    access = [{"resource": "project", "action": "list"}]
    grants = [{"kind": "system", "namespace": "/", "access": access}]
    bodies: list[tuple[str, dict[str, object]]] = [
        ("/users", {"username": unique, "email": f"{unique}@example.org", "realname": "x", "password": PASSWORD}),
        ("/labels", {"name": unique, "scope": "g"}),
        ("/usergroups", {"group_name": unique, "group_type": 3}),
        ("/robots", {"name": unique, "level": "system", "duration": -1, "permissions": grants}),
    ]
    for path, body in bodies:
        answers = at_once([partial(http.post, API + path, json=body) for http in pair])
        assert statuses(answers) == [201, 409], path


def _made(answer: httpx.Response) -> int:
    assert answer.status_code == 201, answer.text
    return int(answer.headers["location"].rpartition("/")[2])


def test_twenty_pushers_fill_a_quota_to_the_byte(
    server: Server, pair: tuple[httpx.Client, httpx.Client], unique: str
) -> None:
    """A third of them fits; what is refused costs nothing, and what fits is never refused."""
    size, fit = 1000, 7
    answer = pair[0].post(f"{API}/projects", json={"project_name": unique, "storage_limit": size * fit + size // 2})
    project_id = _made(answer)
    headers = sign_in(server, admin(server), f"repository:{unique}/app:pull,push")
    contents = [os.urandom(size) for _ in range(PUSHERS)]

    def push(content: bytes) -> httpx.Response:
        with httpx.Client(base_url=server.url, headers=headers, timeout=60) as http:
            begun = http.post(f"/v2/{unique}/app/blobs/uploads/").raise_for_status()
            location = httpx.URL(server.url).join(begun.headers["location"])
            return http.put(location, params={"digest": digest_of(content)}, content=content)

    answers = at_once([partial(push, content) for content in contents])
    assert Counter(statuses(answers)) == Counter({201: fit, 403: PUSHERS - fit})
    quota = pair[0].get(f"{API}/quotas", params={"reference": "project", "reference_id": str(project_id)}).json()[0]
    assert quota["used"]["storage"] == size * fit
    summary = pair[0].get(f"{API}/projects/{unique}/summary").json()
    assert summary["quota"]["used"]["storage"] == size * fit
    refused = next(answer for answer in answers if answer.status_code == 403)
    assert refused.json()["errors"][0]["code"] == "DENIED"


def test_a_label_put_on_an_artifact_that_is_deleted_goes_with_it_or_finds_nothing(
    server: Server, pair: tuple[httpx.Client, httpx.Client], unique: str
) -> None:
    create_project(server, unique)
    label_id = _made(pair[0].post(f"{API}/labels", json={"name": unique, "scope": "g"}))
    headers = sign_in(server, admin(server), f"repository:{unique}/app:pull,push")
    for _ in range(ROUNDS):
        image = make_image(layer_bytes=50)
        with httpx.Client(base_url=server.url, headers=headers, timeout=60) as http:
            for blob in image.blobs:
                push_blob(http, f"{unique}/app", blob)
            put_manifest(http, f"{unique}/app", "v1", image)
        artifact = f"{API}/projects/{unique}/repositories/app/artifacts/{image.digest}"
        labelled, deleted = at_once([
            partial(pair[0].post, f"{artifact}/labels", json={"id": label_id}),
            partial(pair[1].delete, artifact),
        ])  # fmt: skip
        assert deleted.status_code == 200
        assert labelled.status_code in {200, 404}
        assert pair[0].get(artifact, params={"with_label": "true"}).status_code == 404
    assert pair[0].delete(f"{API}/labels/{label_id}").status_code == 200


def test_one_of_two_who_change_the_same_thing_is_last_and_none_fails(
    pair: tuple[httpx.Client, httpx.Client], unique: str
) -> None:
    _made(pair[0].post(f"{API}/projects", json={"project_name": unique}))
    for _ in range(ROUNDS):
        acts: list[Act] = [
            partial(http.put, f"{API}/projects/{unique}", json={"metadata": {"severity": value}})
            for http, value in zip(pair, ("low", "high"), strict=True)
        ]
        assert statuses(at_once(acts)) == [200, 200]
        assert pair[0].get(f"{API}/projects/{unique}").json()["metadata"]["severity"] in {"low", "high"}
    answers = at_once([partial(http.delete, f"{API}/projects/{unique}") for http in pair])
    assert statuses(answers) == [200, 404]
