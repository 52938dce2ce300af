"""Answers: what Harbor's clients always find is always there, if only as null, an empty text or an empty list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from projects.services import create_project
from rbac.models import Role
from registry_core.content.models import Project
from tests.api.conftest import Api
from tests.api.content import put, put_about, put_index, repository_of
from tests.api.contract_tables import ANSWERS
from tests.api.routes import names_in, routes, rows
from tests.api.tenants import OWN
from tests.api.test_matrix import HAS_NOT
from tests.api.world import World, ask, world
from tests.support.operations import BY_SYSTEM

__all__ = ["world"]

BEYOND: Final[dict[str, dict[str, Any]]] = {
    "GET /systeminfo": {"auth_mode": {}, "banner_message": {}, "oidc_provider_name": {}},
    "GET /configurations": {"uaa_client_secret": {"value": {}, "editable": {}}, "banner_message": {"value": {}}},
    "GET /projects": {"cve_allowlist": {"items": {}}, "metadata": {}},
    "GET /projects/{}": {"cve_allowlist": {"items": {}}, "metadata": {}},
    "GET /search": {"project": {"cve_allowlist": {"items": {}}}},
    "GET /system/CVEAllowlist": {"items": {}},
}
"""What the contract leaves open, and Harbor's handlers always set."""
ARTIFACT: Final = ("tags", "labels", "references", "accessories")
PATH: Final = "/projects/fleet/repositories/app/artifacts"


def missing(answer: Any, wanted: dict[str, Any], place: str = "") -> Iterator[str]:
    """The members that the table has and the answer lacks."""
    if isinstance(answer, list):
        for item in answer:
            yield from missing(item, wanted, place)
    elif isinstance(answer, dict):
        for name, inner in wanted.items():
            if name.removesuffix("?") in answer:
                yield from missing(answer[name.removesuffix("?")], inner, f"{place}.{name}")
            elif not name.endswith("?"):
                yield f"{place}.{name}"


def test_the_search_for_what_is_missing_finds_it() -> None:
    table: dict[str, Any] = {"a": {}, "b?": {"c": {}}}
    assert list(missing([{"a": None}, {"b": {}}], table)) == [".a", ".b?.c"]


@pytest.mark.slow
def test_every_answer_has_what_clients_always_find(world: World) -> None:
    table: dict[str, dict[str, Any]] = json.loads(ANSWERS.read_text())
    known, wrong, seen = rows(), [], set()
    for route in routes():
        name = f"GET /{route.shape.removeprefix('api/v2.0/')}"
        if not route.is_rest or "GET" not in known.get(route.shape, ("", {}))[1] or name not in table.keys() | BEYOND:
            continue
        for caller in ("sysadmin", "projectAdmin", "nobody"):
            path = world.path(route, names_in(known[route.shape][0]), OWN, world.callers["projectAdmin"])
            answer = ask(world.callers[caller].api, "GET", f"{path}?q=a" if name == "GET /search" else path)
            if answer.status_code == 200:
                seen.add(name)
                for wanted in (table.get(name, {}), BEYOND.get(name, {})):
                    wrong += [f"{name} as {caller}: {what}" for what in missing(answer.json(), wanted)]
    assert not wrong, "\n".join(sorted(set(wrong)))
    served = {f"GET /{route.shape.removeprefix('api/v2.0/')}" for route in routes() if route.is_rest and route.methods}
    assert sorted((table.keys() | BEYOND.keys()) & served - seen - {f"GET /{name}" for name in HAS_NOT}) == []


def test_lists_of_an_artifact_are_null_when_there_is_nothing_in_them(sysadmin: Api, project: Project) -> None:
    repository = repository_of(project, "app")
    bare = put(repository)
    for question in ("", "?with_label=true&with_accessory=true&with_tag=true"):
        shown = sysadmin.get(f"{PATH}/{bare}{question}").json()
        assert [shown[name] for name in ARTIFACT] == [None] * 4, question
        (listed,) = sysadmin.get(f"{PATH}{question}").json()
        assert listed == shown
    put_about(repository, bare, "application/vnd.cncf.notary.signature")
    put_index(repository, [bare, put(repository, "v1")], "all")
    shown = sysadmin.get(f"{PATH}/all?with_label=true").json()
    assert [entry["urls"] for entry in shown["references"]] == [None, None]
    assert [entry["platform"]["'os.features'"] for entry in shown["references"]] == [None, None]
    assert sysadmin.get(f"{PATH}/all?with_tag=false").json()["tags"] is None


def test_a_project_without_an_allowlist_has_an_empty_one(sysadmin: Api, anonymous: Api, member: Any) -> None:
    open_project = create_project(name="open", is_public=True, cause=BY_SYSTEM)
    for api in (sysadmin, anonymous, member(open_project, Role.GUEST)):
        shown = api.get("/projects/open").json()
        assert shown["cve_allowlist"]["items"] == []
        assert isinstance(shown["current_user_role_ids"], list)


def test_errors_and_answers_are_json_without_blanks(sysadmin: Api, user: Api, anonymous: Api) -> None:
    sysadmin.put("/configurations", {"project_creation_restriction": "adminonly"})
    refused = user.post("/projects", {"project_name": "mine"})
    assert (refused.status_code, refused.content) == (
        403, b'{"errors":[{"code":"FORBIDDEN","message":"Only system admin can create project"}]}',
    )  # fmt: skip
    get = sysadmin.get
    for answer in (
        anonymous.get("/users"), get("/projects/no-such"), get("/nothing/here"), sysadmin.post("/ping"),
        sysadmin.post("/projects", {"project_name": "A"}), get("/registries/1"), user.get("/configurations"),
        get("/projects?page=x"), get("/systeminfo"), get("/health"), get("/permissions"),
    ):  # fmt: skip
        content = answer.content.decode()
        assert content == json.dumps(answer.json(), separators=(",", ":"), ensure_ascii=False), content


@pytest.mark.parametrize("path", ["/api/version", "/api/version/", "/api//version"])
def test_the_version_of_the_api_is_told_to_anybody(anonymous: Api, path: str) -> None:
    answer = anonymous.client.get(path)
    assert (answer.status_code, answer.json()) == (200, {"version": "v2.0"})
