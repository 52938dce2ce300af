"""Every address by every kind of caller in a project of his own, a foreign one, a public one and one that is not there.

Who is refused gets 401 or 403 and learns nothing. Who is let in gets anything else, mostly 400 for the empty body that
is sent: what a valid body does is asked where things of another project are named. What a request changes is undone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from django.test import Client

from rbac.models import Role
from tests.api.conftest import Api, api_as
from tests.api.routes import Need, Route, names_in, routes, rows
from tests.api.tenants import ABSENT, CALLERS, FOREIGN, NO_SUCH, OWN, PUBLIC, Caller, Tenant
from tests.api.world import World, ask, world

pytestmark = pytest.mark.slow

__all__ = ["world"]

REFUSED: Final = frozenset({401, 403})
# Addresses that name a thing by its id alone say "not there" about things of projects that one may not see.
HIDES: Final = ("api/v2.0/robots/{}", "api/v2.0/labels/{}")
# What an administrator may ask for and this server does not have, or does not tell without a question.
HAS_NOT: Final = frozenset(
    {
        "icons/{}",
        "systeminfo/getcert",
        "internalconfig",
        "users/search",
        "usergroups/search",
        "projects/{}/scanner",
        "projects/{}/repositories/{}/artifacts/{}/hold",
    }
) | frozenset(f"projects/{{}}/repositories/{{}}/artifacts/{{}}/additions/{kind}" for kind in ("{}", "vulnerabilities"))


def is_let_in(caller: Caller, need: Need, target: str) -> bool:
    """What the tables say."""
    if need.scope == "anyone":
        return True
    if need.scope == "nobody" or caller.is_anonymous:
        return need.scope == "project" and need.permission in caller.rights_in(target)
    if caller.is_sysadmin or need.scope == "signed in":
        return True
    return {
        "person": caller.user is not None or need.permission in caller.system_rights,
        "sysadmin": False,
        "administrator of a project": caller.role is Role.PROJECT_ADMIN,
        "system": need.permission in caller.system_rights,
        "himself": need.permission in caller.system_rights or (target == OWN and caller.user is not None),
        "project": need.permission in caller.rights_in(target),
    }[need.scope]


def targets_of(need: Need) -> list[str]:
    if need.scope == "project":
        return [OWN, FOREIGN, PUBLIC, ABSENT]
    return [OWN, FOREIGN] if need.scope == "himself" else [FOREIGN]


def cells(*, pages: bool = False) -> Iterator[tuple[Route, list[str], str, Need, str]]:
    """Each route with the names of what varies, each of its methods with its need and its targets."""
    known = rows()
    for route in routes():
        if not (route.is_page if pages else route.is_rest) or route.is_not_yet or route.shape not in known:
            continue  # one without a row fails in a test of its own
        address, needs = known[route.shape]
        for method, need in needs.items():
            for target in targets_of(need):
                yield route, names_in(address), method, need, target


def test_every_address_has_a_row_and_every_row_an_address() -> None:
    known = rows()
    served = {route.shape: route for route in routes() if not route.is_not_yet}
    assert sorted(served.keys() - known.keys()) == [], "addresses without a row in tests/api/routes.py"
    assert sorted(known.keys() - served.keys()) == [], "rows without an address"
    methods = {shape: route.methods for shape, route in served.items() if route.is_rest}
    assert {shape: frozenset(known[shape][1]) for shape in methods} == methods


@pytest.mark.parametrize("name", CALLERS)
def test_an_address_lets_in_whom_the_role_table_names_and_nobody_else(world: World, name: str) -> None:
    caller = world.callers[name]
    wrong: list[str] = []
    refusals: dict[tuple[str, str, str], tuple[int, str]] = {}
    for route, names, method, need, target in cells():
        if route.shape.endswith("openapi.json") and not caller.is_anonymous:
            continue  # takes seconds to make, and asks nobody who he is
        answer = ask(caller.api, method, world.path(route, names, target, caller), {})
        if not is_let_in(caller, need, target):
            refusals[route.shape, method, target] = (answer.status_code, _without_numbers(answer))
        if not _is_as_expected(answer.status_code, route, caller, need, target):
            wrong.append(f"{method} {route.shape} on {target}: {answer.status_code} {answer.content[:120]!r}")
    assert not wrong, "\n".join(wrong)
    told = [(shape, method) for shape, method, target in refusals if target == FOREIGN and not caller.is_sysadmin]
    told = [cell for cell in told if (*cell, ABSENT) in refusals]
    oracles = [cell for cell in told if refusals[*cell, FOREIGN] != refusals[*cell, ABSENT]]
    assert oracles == [], "these tell a foreign project from one that is not there"


def _is_as_expected(status: int, route: Route, caller: Caller, need: Need, target: str) -> bool:
    if is_let_in(caller, need, target):
        return status in {400, 404} if target == ABSENT else status < 500 and status not in REFUSED
    if route.shape in HIDES and status == 404:
        return True
    return status in ({401} if caller.is_anonymous else {403})


def _without_numbers(answer: Any) -> str:
    return re.sub(r"\d+", "0", answer.content.decode())


def test_what_an_administrator_may_read_is_there(world: World) -> None:
    caller = world.callers["sysadmin"]
    wrong = []
    for route, names, method, _, target in cells():
        shape = route.shape.removeprefix("api/v2.0/")
        if method != "GET" or target == ABSENT or shape in HAS_NOT or shape == "openapi.json":
            continue
        answer = ask(caller.api, method, world.path(route, names, target, caller))
        if answer.status_code != 200:
            wrong.append(f"{shape} on {target}: {answer.status_code} {answer.content[:120]!r}")
    assert not wrong, "\n".join(wrong)


def test_what_this_release_has_not_is_501_to_whoever_is_known(world: World) -> None:
    nobody, stranger = world.callers["nobody"].api, world.callers["stranger"].api
    for route in routes():
        path = route.at(1 for _ in names_in(route.address))
        for method in route.not_yet:
            assert ask(nobody, method, path, {}).status_code == 401, (method, path)
            assert ask(stranger, method, path, {}).status_code == 501, (method, path)


@pytest.mark.parametrize("name", [name for name in CALLERS if "robot" not in name])
def test_a_page_shows_what_its_reader_may_pull(world: World, name: str) -> None:
    caller = world.callers[name]
    wrong = []
    for route, names, method, need, target in cells(pages=True):
        browser = Client()
        if caller.user:
            browser.force_login(caller.user, backend="django.contrib.auth.backends.ModelBackend")
        answer = ask(Api(browser, {}), method, world.path(route, names, target, caller))
        place = answer.headers.get("Location", "")
        if need.scope == "anyone":
            is_right = answer.status_code in {200, 302}
        elif caller.is_anonymous:
            is_right = answer.status_code == 302 and place.startswith("/sign-in?")
        else:
            is_right = answer.status_code == (200 if is_let_in(caller, need, target) and target != ABSENT else 404)
        if not is_right:
            wrong.append(f"{method} {route.shape} on {target}: {answer.status_code} {place}")
    assert not wrong, "\n".join(wrong)


# Bodies with which an administrator of the project succeeds, so that a refusal of a foreign id is about the id.
BODIES: Final[dict[tuple[str, str], Any]] = {
    ("PUT", "members/{}"): {"role_id": 2},
    ("PUT", "metadatas/{}"): {"auto_scan": "false"},
    ("PUT", "repositories/{}"): {"description": "ours"},
    ("POST", "tags"): {"name": "v2"},
    ("PUT", "hold"): {"reason": "case 17"},
}
NESTED: Final = frozenset({"mid", "robot_id", "label_id", "reference", "immutable_rule_id"})


def nested_cells() -> Iterator[tuple[Route, list[str], str]]:
    """Addresses of a project that name a thing in it by an id which another project's thing could have."""
    for route, names, method, need, target in cells():
        if target == OWN and need.scope == "project" and NESTED & set(names) and names[0].startswith("project"):
            yield route, names, method


def _body(method: str, route: Route, tenant: Tenant) -> Any:
    shape = route.shape.rstrip("/")
    if method == "POST" and shape.endswith("/labels"):
        return {"id": int(tenant.values["label_id"])}
    if method == "PUT" and shape.endswith("/robots/{}"):
        return {"disable": True}
    return next((body for (verb, end), body in BODIES.items() if verb == method and shape.endswith(end)), {})


@pytest.mark.parametrize("name", ["projectAdmin", "sysadmin"])
def test_a_thing_of_another_project_is_not_there_under_ones_own(world: World, name: str) -> None:
    caller, own, wrong = world.callers[name], world.tenants[OWN], []
    for route, names, method in nested_cells():
        body = _body(method, route, own)
        control = ask(caller.api, method, world.path(route, names, OWN, caller), body)
        if (
            control.status_code >= 400
            and control.status_code != 409
            and route.shape.removeprefix("api/v2.0/") not in HAS_NOT
        ):
            wrong.append(f"{method} {route.shape} with one's own: {control.status_code} {control.content[:120]!r}")
        for foreign in (FOREIGN, PUBLIC):
            for nested in NESTED & set(names):
                values = dict(own.values) | {nested: world.tenants[foreign].values[nested]}
                answer = ask(caller.api, method, route.at(values[part] for part in names), body)
                if answer.status_code not in {400, 404}:
                    wrong.append(f"{method} {route.shape}, {nested} of {foreign}: {answer.status_code}")
    assert not wrong, "\n".join(wrong)


def foreign_bodies(world: World) -> Iterator[tuple[str, str, Any]]:
    """Requests within one's own project whose body or query names something of another one."""
    own, foreign = world.tenants[OWN].values, world.tenants[FOREIGN].values
    app = f"/api/v2.0/projects/own/repositories/app/artifacts/{own['reference']}"
    pull = [{"resource": "repository", "action": "pull"}]
    for namespace in ("foreign", "*", "no-such"):
        grants = [{"kind": "project", "namespace": namespace, "access": pull}]
        for level in ("project", "system"):
            robot = {"name": "spy", "level": level, "duration": -1, "permissions": grants}
            yield "POST", "/api/v2.0/robots", robot
        widened = {"name": "robot$own+ci", "level": "project", "duration": -1, "permissions": grants}
        yield "PUT", f"/api/v2.0/robots/{own['robot_id']}", widened
    yield "POST", f"{app}/labels", {"id": int(foreign["label_id"])}
    yield "POST", f"{app}/labels", {"id": NO_SUCH}
    yield "POST", "/api/v2.0/labels", {"name": "x", "scope": "p", "project_id": int(foreign["project_name_or_id"])}
    yield "POST", "/api/v2.0/labels", {"name": "x", "scope": "g"}
    yield "POST", f"/api/v2.0/projects/own/repositories/app/artifacts?from=foreign/app@{foreign['reference']}", None
    yield "POST", "/api/v2.0/projects/own/repositories/app/artifacts?from=foreign/app:v1", None
    for member in ({"member_user": {"user_id": NO_SUCH}}, {"member_group": {"id": NO_SUCH}}):
        yield "POST", "/api/v2.0/projects/own/members", {"role_id": 2} | member


def test_a_body_cannot_name_what_is_not_ones_own(world: World) -> None:
    admin = world.callers["projectAdmin"].api
    wrong = []
    for method, path, body in foreign_bodies(world):
        answer = ask(admin, method, path, body)
        if answer.status_code not in {400, 403, 404}:
            wrong.append(f"{method} {path} {body}: {answer.status_code} {answer.content[:200]!r}")
    assert not wrong, "\n".join(wrong)


def test_a_label_and_a_robot_stay_in_their_project_whatever_the_body_says(world: World) -> None:
    admin, own, foreign = world.callers["projectAdmin"].api, world.tenants[OWN], world.tenants[FOREIGN]
    label = f"/labels/{own.values['label_id']}"
    moved = {"name": "moved", "scope": "g", "project_id": int(foreign.values["project_name_or_id"]), "id": NO_SUCH}
    admin.put(label, moved)
    kept = admin.get(label).json()
    assert (kept["scope"], str(kept["project_id"])) == ("p", own.values["project_name_or_id"])


def test_lists_hold_nothing_of_projects_that_one_may_not_see(world: World) -> None:
    stranger = world.callers["stranger"].api
    for path in ("/projects", "/repositories", "/search?q=foreign", "/audit-logs", "/auditlog-exts"):
        assert b"foreign" not in stranger.get(path + ("&" if "?" in path else "?") + "page_size=100").content, path
    admin, foreign = world.callers["projectAdmin"].api, world.tenants[FOREIGN].values["project_name_or_id"]
    for path in (f"/labels?scope=p&project_id={foreign}", f"/robots?q=Level=project,ProjectID={foreign}"):
        refused = admin.get(path)
        assert refused.status_code in {403, 404} or refused.json() == [], path


def test_only_an_administrator_may_ask_which_users_there_are(world: World) -> None:
    form = {"target": "username", "value": "victim"}
    for name in CALLERS:
        api = world.callers[name].api
        status = api.client.post("/c/userExists", form, headers=api.headers).status_code
        assert status == (200 if name == "sysadmin" else 401 if name == "nobody" else 403), name


def test_credentials_that_are_wrong_open_nothing(world: World) -> None:
    wrong = api_as("projectAdmin", "Wrong-password-1")
    for path in ("/projects/public", "/projects/own", "/systeminfo"):
        assert wrong.get(path).status_code == 401
