"""What an immutability rule or a legal hold protects stays as it is on every path that could change it, for everybody.

Through a running server, as clients of the registry and of the REST API see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from registry_core.content.parsing import OCI_INDEX
from tests.conftest import ServerFactory
from tests.distribution.client import Client, digest_of, image, index
from tests.policies.table import PROJECT, World
from tests.support.people import admin, api_of, create_project

SELECTOR = {"kind": "doublestar", "pattern": "**"}
RULE = {
    "tag_selectors": [SELECTOR | {"decoration": "matches", "pattern": "v*"}],
    "scope_selectors": {"repository": [SELECTOR | {"decoration": "repoMatches"}]},
}
Path = Callable[[World, str, bytes], httpx.Response]


def _copy(world: World, repository: str, content: bytes) -> httpx.Response:
    source = world.fresh().replace(PROJECT, "open")
    world.image(source)
    return world.rest.post(world.path(repository, "/artifacts"), params={"from": f"{source}:v1"})


PATHS: dict[str, Path] = {
    "tag PUT": lambda world, on, _: world.client.put_manifest(image(), "v1", on=on),
    "tag PUT of an index": lambda world, on, _: world.client.put_manifest(
        index(annotations={"of": on}), "v1", on=on, content_type=OCI_INDEX
    ),
    "digest PUT with ?tag=": lambda world, on, _: world.client.put_manifest(
        content := image(), f"{digest_of(content)}?tag=new&tag=v1", on=on
    ),
    "tag DELETE": lambda world, on, _: world.client.delete("manifests/v1", on=on),
    "digest DELETE": lambda world, on, content: world.client.delete(f"manifests/{digest_of(content)}", on=on),
    "REST copy": _copy,
    "REST tag delete": lambda world, on, _: world.rest.delete(world.path(on, "/artifacts/v1/tags/v1")),
    "REST artifact delete": lambda world, on, _: world.rest.delete(world.path(on, "/artifacts/v1")),
    "REST repository delete": lambda world, on, _: world.rest.delete(world.path(on)),
}


@pytest.fixture(scope="module")
def world(start_server: ServerFactory) -> Iterator[World]:
    server = start_server()
    for name in (PROJECT, "open"):
        create_project(server, name)
    client = Client(server.url, admin(server))
    with api_of(server, admin(server)) as rest:
        yield World(client, rest)
    client.http.close()


def by_rule(world: World, _repository: str) -> Callable[[], object]:
    made = world.rest.post(f"projects/{PROJECT}/immutabletagrules", json=RULE).raise_for_status()
    return lambda: world.rest.delete(made.headers["location"].removeprefix("/api/v2.0/")).raise_for_status()


def by_hold(world: World, repository: str) -> Callable[[], object]:
    path = world.path(repository, "/artifacts/v1/hold")
    world.rest.put(path, json={"reason": "case 17"}).raise_for_status()
    return lambda: world.rest.delete(path).raise_for_status()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("protect", "why"), [(by_rule, "is immutable by rule"), (by_hold, "under legal hold")], ids=["rule", "hold"]
)
def test_a_protected_tag_stays_until_the_protection_ends(
    world: World, path: str, protect: Callable[[World, str], Callable[[], object]], why: str
) -> None:
    repository = world.fresh()
    content = world.image(repository)
    end = protect(world, repository)
    refused = PATHS[path](world, repository, content)
    assert refused.status_code == 412
    (error,) = refused.json()["errors"]
    assert error["code"] == "PRECONDITION"
    assert why in error["message"]
    assert world.client.get("manifests/v1", on=repository).content == content
    assert world.client.put_manifest(content, "v1", on=repository).status_code == 201, "the same again is allowed"
    end()
    assert PATHS[path](world, repository, content).is_success
