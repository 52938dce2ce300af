"""A private name and an absent one: the same answer, in the same time, to who may see neither."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import httpx
import pytest

from tests.support.people import Account, admin, create_project, create_user
from tests.support.registry import TIMEOUT_S, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server

ROUNDS = 150
FACTOR = 1.35  # a look at the database, which the one would need and the other not, doubles an answer's time
Ask = Callable[[httpx.Client, str, str], httpx.Response]
API = "/api/v2.0/projects"

READS: dict[str, Ask] = {
    "manifests": lambda c, project, path: c.get(f"/v2/{project}/{path}/manifests/v1"),
    "blobs": lambda c, project, path: c.head(f"/v2/{project}/{path}/blobs/sha256:{'0' * 64}"),
    "tags": lambda c, project, path: c.get(f"/v2/{project}/{path}/tags/list"),
    "uploads": lambda c, project, path: c.post(f"/v2/{project}/{path}/blobs/uploads/"),
    "tokens": lambda c, project, path: c.get("/service/token?scope=" + f"repository:{project}/{path}:pull"),
    "REST projects": lambda c, project, path: c.get(f"{API}/{project}"),
    "REST repositories": lambda c, project, path: c.get(f"{API}/{project}/repositories/{path}"),
    "REST artifacts": lambda c, project, path: c.get(f"{API}/{project}/repositories/{path}/artifacts/v1"),
}


@pytest.fixture(scope="module")
def private(server: Server) -> str:
    """A private project with a repository `app` that has the tag `v1`."""
    name = "timed-private"
    create_project(server, name)
    token = sign_in(server, admin(server), f"repository:{name}/app:pull,push")
    with httpx.Client(base_url=server.url, headers=token) as client:
        image = make_image(layer_bytes=64)
        for blob in image.blobs:
            push_blob(client, f"{name}/app", blob)
        put_manifest(client, f"{name}/app", "v1", image)
    return name


@pytest.fixture(scope="module")
def stranger(server: Server) -> Account:
    return create_user(server, "timed-stranger")


@pytest.mark.parametrize("is_signed_in", [False, True], ids=["anonymous", "signed in"])
@pytest.mark.parametrize("way", READS)
def test_a_private_name_and_an_absent_one_take_the_same_time(
    server: Server, private: str, stranger: Account, way: str, is_signed_in: bool
) -> None:
    auth = (stranger.name, stranger.password) if is_signed_in else None
    names = {"private": (private, "app"), "no repository": (private, "none"), "no project": ("timed-absent", "app")}
    with httpx.Client(base_url=server.url, auth=auth, timeout=TIMEOUT_S) as client:
        _same_time(READS[way], client, names)


def test_mounting_from_a_private_repository_takes_as_long_as_from_none(
    server: Server, private: str, unique: str
) -> None:
    person = create_user(server, unique)
    create_project(server, f"{unique}p", by=person.name)
    target = f"/v2/{unique}p/app/blobs/uploads/"

    def mount(client: httpx.Client, project: str, path: str) -> httpx.Response:
        source = {"mount": f"sha256:{'0' * 64}", "from": f"{project}/{path}"}
        return client.post(target, params=source)

    names = {"private": (private, "app"), "no repository": (private, "none"), "no project": ("timed-absent", "app")}
    token = sign_in(server, person, f"repository:{unique}p/app:pull,push")
    with httpx.Client(base_url=server.url, headers=token, timeout=TIMEOUT_S) as client:
        _same_time(mount, client, names)


def _same_time(ask: Ask, client: httpx.Client, names: dict[str, tuple[str, str]]) -> None:
    answers = {kind: ask(client, *name) for kind, name in names.items()}
    assert len({answer.status_code for answer in answers.values()}) == 1, answers
    took_s: dict[str, list[float]] = {kind: [] for kind in names}
    for _ in range(ROUNDS):
        for kind, name in names.items():  # in turn: what else the machine does meets all of them
            begin_s = time.perf_counter()
            ask(client, *name)
            took_s[kind].append(time.perf_counter() - begin_s)
    # The lower quartile: other work on the machine only adds.
    typical_s = {kind: statistics.quantiles(times, n=4)[0] for kind, times in took_s.items()}
    print({kind: f"{seconds * 1000:.3f} ms" for kind, seconds in typical_s.items()})
    assert max(typical_s.values()) < FACTOR * min(typical_s.values()), typical_s
