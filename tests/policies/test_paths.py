"""Moment by path: what the policy refuses is refused on each of them, what it allows is done, and it saw all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from registry_core.content.policy_contexts import Moment
from registry_core.distribution.router import ROUTES
from registry_core.machine.generations import Generations
from tests.api.routes import routes
from tests.conftest import ServerFactory
from tests.distribution.client import Client, digest_of
from tests.policies import table
from tests.policies.served import ASKED, BLOB, GENERATION, MANIFEST, REFUSAL, REFUSED, SUPPLIED
from tests.policies.table import ROWS, Row, World
from tests.support.people import admin, api_of, create_project
from tests.support.plugins import with_policies
from tests.support.server import Server

CELLS = [pytest.param(row, moment, id=f"{moment}: {row.name}") for row in ROWS for moment in row.moments]
_APPLY = """
from registry_core.access import of_system
from registry_core.content.models import Project
from registry_core.content.project_policies import policies_changing
from registry_core.content.repositories import project_ref
for name, policy in (("governed", "served"), ("doomed", "served"), ("mirror", "supplier")):
    with policies_changing(project=project_ref(Project.objects.get(name=name)), cause=of_system("test"), add=[policy]):
        pass
"""


@dataclass(frozen=True)
class Governed:
    """The server, and its policy as files."""

    world: World
    server: Server
    folder: Path
    generations: Generations

    def refuse(self, *moments: Moment) -> None:
        """Refuse these moments, and no others, from now on."""
        (self.folder / REFUSED).write_text(" ".join(moments))
        self.generations.bump([GENERATION])

    def asked(self, moment: Moment, answer: httpx.Response) -> list[dict[str, Any]]:
        """What the policy was asked at a moment on behalf of the request that got the answer."""
        lines = (self.folder / ASKED).read_text().splitlines()
        contexts: list[dict[str, Any]] = [json.loads(line) for line in lines]
        request_id = answer.headers["x-request-id"]
        return [each for each in contexts if each["moment"] == moment and each["cause"]["request_id"] == request_id]


@pytest.fixture(scope="module")
def governed(start_server: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governed]:
    folder = tmp_path_factory.mktemp("policy")
    for name in (REFUSED, ASKED, SUPPLIED):
        (folder / name).touch()
    server = start_server(**with_policies(folder, "served_policy", "tests.policies.served:register"))
    for name in ("governed", "doomed", "mirror"):
        create_project(server, name)
    server.manage(_APPLY)
    client, generations = Client(server.url, admin(server)), Generations(server.data / "run" / "generations")
    with api_of(server, admin(server)) as rest:
        yield Governed(World(client, rest), server, folder, generations)
    client.http.close()


@pytest.mark.parametrize(("row", "moment"), CELLS)
def test_cell(governed: Governed, row: Row, moment: Moment) -> None:
    governed.refuse()
    repository, act = row.arrange(governed.world)
    governed.refuse(moment)

    refused = act()
    assert refused.status_code == 403
    if refused.request.method != "HEAD":
        assert refused.json()["errors"] == [{"code": "DENIED", "message": REFUSAL}]
    if row.is_first:
        assert governed.world.rest.get(governed.world.path(repository)).status_code == 404

    governed.refuse()
    allowed = act()
    assert allowed.is_success, allowed.text
    contexts = governed.asked(moment, allowed)
    assert contexts
    for context in contexts:
        _is_complete(context, row, repository)


def _is_complete(context: dict[str, Any], row: Row, repository: str) -> None:
    """Whether the policy could have told by its context who does what to what, and from where."""
    cause = context["cause"]
    assert (cause["subject"], cause["client"], cause["reason"]) == ("admin", "127.0.0.1", row.reason)
    assert context["project"]["name"] == repository.partition("/")[0] if "whole" in context else context["repository"]
    content = context.get("content")
    if content:
        assert content["size_bytes"] > 0
        assert content["digest"].startswith("sha256:")
        assert (content["media_type"] in table.MANIFEST_TYPES) == (content["kind"] == "manifest")
    if context["moment"] in {Moment.PULL, Moment.PUT, Moment.TAG, Moment.MOUNT, Moment.COPY}:
        assert content
    if context["moment"] == Moment.PULL:
        assert context["is_head"] == (row.served[0] == "HEAD")
    if context["moment"] in {Moment.MOUNT, Moment.COPY}:
        assert context["source"]["name"]
    if context["moment"] == Moment.DELETE and context["whole"] in {"artifact", "repository"}:
        assert list(context["tags"].values()) == list(context["artifacts"].values())


def test_a_blob_that_may_not_be_pulled_is_not_mounted_from_there(governed: Governed) -> None:
    governed.refuse()
    mount = next(row for row in ROWS if row.name == "mount")
    _, act = mount.arrange(governed.world)
    governed.refuse(Moment.PULL)
    assert act().status_code == 202
    governed.refuse()
    assert act().status_code == 201


def test_a_provider_supplies_what_is_missing_and_is_asked_once_for_it(governed: Governed) -> None:
    client = governed.world.client
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.get("manifests/latest", on="mirror/app"), range(4)))
    assert {(answer.status_code, answer.content) for answer in answers} == {(200, MANIFEST)}
    assert client.get(f"blobs/{digest_of(BLOB)}", on="mirror/app").content == BLOB
    assert client.get(f"blobs/{digest_of(BLOB)}", on="mirror/blobs").content == BLOB
    assert client.get(f"manifests/{digest_of(MANIFEST)}", on="mirror/blobs").content == MANIFEST
    assert client.get("manifests/other", on="mirror/app").status_code == 404
    assert client.get("manifests/other", on="mirror/none").status_code == 404
    assert client.get("manifests/latest", on="governed/none").status_code == 404
    supplied = (governed.folder / SUPPLIED).read_text().splitlines()
    assert "blob mirror/blobs" in " ".join(supplied)
    assert {line.rpartition(" ")[2] for line in supplied} == {"admin"}


def test_every_path_has_a_row_or_serves_and_changes_no_content() -> None:
    rows = {row.served for row in ROWS}
    on_data_path = {(method, route.pattern.pattern) for route in ROUTES for method in route.handlers}
    by_rest = {
        (method, route.shape.removeprefix("api/v2.0/"))
        for route in routes()
        if route.is_rest
        for method in route.methods
    }
    excepted = {tuple(line.split()) for line in map(str.strip, table.WITHOUT_CONTENT) if line}
    assert on_data_path - rows == table.ASKED_AT_THE_START | table.LISTS
    assert by_rest - rows == excepted
    assert rows <= on_data_path | by_rest


def test_every_moment_that_has_a_path_is_in_the_table() -> None:
    assert {moment for row in ROWS for moment in row.moments} == set(Moment)
    assert table.NOT_THERE_YET
