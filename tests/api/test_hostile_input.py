"""What somebody sends who wants more than he may have, or the registry to fall over.

Each field that a client must not set, each list's filter and order, each text that is shown again, the address, the
body and the session's token. There is no export of tables yet: formulas in CSV are tested when there is.
What needs a running server (logs, outgoing connections, large bodies) is in test_hostile_server.py.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import pytest
from django.test import Client

from rbac.models import Role, User
from rbac.services.members import add_member
from registry_core.content.models import Project
from registry_core.settings_store.changes import change
from tests.api.conftest import PASSWORD, Api, api_as
from tests.api.routes import Route, names_in, routes, rows
from tests.api.tenants import FOREIGN, NO_SUCH, OWN, PUBLIC, push_image
from tests.api.world import World, ask, world
from tests.support.extent import IS_FULL
from tests.support.operations import BY_SYSTEM

pytestmark = pytest.mark.slow

__all__ = ["world"]

SCRIPT: Final = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>"
# Lists that the contract gives no `q`, and those that are always empty.
WITHOUT_Q: Final = (
    "members", "usergroups", "usergroups/search", "users/search", "quotas", "search", "candidates", "registries",
    "replication/policies", "replication/executions",
)  # fmt: skip
INJECTIONS: Final = (
    "password__startswith=a", "user__password__startswith=a", "project__settings__owner__password__startswith=a",
    "pk__in=1", "name__regex=.*", "id=1) OR (1=1", "' OR '1'='1=x", "deleted_at=*", "_state=1", "__class__=x",
)  # fmt: skip
ORDERS: Final = (
    "password", "user__password", "settings__owner__password", "?", "name; DROP TABLE rbac_user", "(SELECT 1)",
    "-pk) --", "name__lower", "deleted_at",
)  # fmt: skip
FRAGMENTS: Final = ("x' OR '1'='1", "~%' OR '1'='1", '~"\\', "{' ;--}")


# --- fields that are not the client's to set -------------------------------------------------------------------------

RISES: Final = {
    "sysadmin_flag": True, "is_sysadmin": True, "has_admin_role": True, "admin_role_in_auth": True, "is_active": True,
    "user_id": NO_SUCH, "id": NO_SUCH, "credential_version": 99, "deleted_at": None,
    "created_at": "2001-01-01T00:00:00Z", "creation_time": "2001-01-01T00:00:00Z", "password_version": "x",
}  # fmt: skip


def test_who_signs_up_becomes_no_administrator(anonymous: Api) -> None:
    change(values={"self_registration": True}, cause=BY_SYSTEM)
    body = {"username": "newcomer", "password": PASSWORD, "email": "n@example.org", "realname": "N", "comment": ""}
    assert anonymous.post("/users", RISES | body).status_code == 201
    made = User.objects.get(username="newcomer")
    assert (made.is_sysadmin, made.credential_version, made.pk == NO_SUCH) == (False, 1, False)
    assert made.created_at.year > 2001


def test_a_profile_changes_neither_rights_nor_name_nor_password(world: World) -> None:
    caller = world.callers["developer"]
    assert caller.user is not None
    before: dict[str, Any] = dict(User.objects.values().get(pk=caller.user.pk))
    body = RISES | {"email": "dev@example.org", "realname": "Dev", "comment": "c"}
    body |= {"username": "root", "password": "Other-pass-1"}
    assert caller.api.put(f"/users/{caller.user.pk}", body).status_code == 200
    after: dict[str, Any] = dict(User.objects.values().get(pk=caller.user.pk))
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"email", "realname", "comment", "updated_at"}
    refused = caller.api.put(f"/users/{caller.user.pk}/sysadmin", {"sysadmin_flag": True})
    assert refused.status_code == 403


def test_a_project_has_the_owner_and_the_id_that_the_registry_gives(world: World) -> None:
    body = {"project_name": "mine", "owner_id": 1, "owner_name": "admin", "project_id": 77, "id": 77, "deleted": True,
            "current_user_role_ids": [1], "repo_count": 9, "creation_time": "2001-01-01T00:00:00Z"}  # fmt: skip
    api = world.callers["stranger"].api
    made = api.post("/projects", body)
    assert made.status_code == 201
    shown = api.get("/projects/mine").json()
    assert (shown["owner_name"], shown["repo_count"], shown["project_id"] == 77) == ("stranger", 0, False)
    assert not shown["creation_time"].startswith("2001")


def test_a_member_stays_in_his_project_and_a_robot_has_the_creator_that_it_had(world: World) -> None:
    admin, own = world.callers["projectAdmin"].api, world.tenants[OWN].values
    foreign = int(world.tenants[FOREIGN].values["project_name_or_id"])
    path = f"/projects/own/members/{own['mid']}"
    before = admin.get(path).json()
    body = {"role_id": 2, "project_id": foreign, "entity_id": 1, "entity_type": "g", "id": 5, "user_id": 1}
    assert admin.put(path, body).status_code == 200
    assert admin.get(path).json() == before | {"role_id": 2, "role_name": "developer"}
    robot = f"/robots/{own['robot_id']}"
    given = admin.get(robot).json()
    admin.put(robot, given | {"creator_type": "local", "creator_ref": 1, "id": 1, "secret": "Chosen-secret-1"})
    left = admin.get(robot).json()
    for name in ("id", "name", "creator_type", "creator_ref", "creation_time", "level"):
        assert left.get(name) == given.get(name), name
    assert "secret" not in left or left["secret"] == ""


# --- filters and orders ----------------------------------------------------------------------------------------------


def lists(world: World) -> Iterator[tuple[str, Route]]:
    """The addresses whose GET answers a list, for the administrator of the project."""
    known, api = rows(), world.callers["sysadmin"].api
    for route in routes():
        if not route.is_rest or route.is_not_yet or "GET" not in known.get(route.shape, ("", {}))[1]:
            continue
        path = world.path(route, names_in(known[route.shape][0]), OWN, world.callers["sysadmin"])
        if "X-Total-Count" in ask(api, "GET", path).headers:
            yield path, route


def _takes_q(route: Route) -> bool:
    return not route.shape.removeprefix("api/v2.0/").removeprefix("projects/{}/").endswith(WITHOUT_Q)


def test_no_list_can_be_asked_by_a_column_that_it_does_not_show(world: World) -> None:
    api, told, seen = world.callers["sysadmin"].api, [], 0
    for path, route in lists(world):
        seen += 1
        for name, values in (("q", INJECTIONS), ("sort", ORDERS)):
            for value in values:
                answer = ask(api, "GET", f"{path}?{name}={quote(value)}")
                is_ignored = answer.status_code == 200 and not _takes_q(route)
                if answer.status_code != 400 and not is_ignored:
                    told.append(f"{route.shape}?{name}={value}: {answer.status_code}")
    assert seen > 12
    assert not told, "\n".join(told)


def test_pieces_of_sql_in_a_value_are_a_value(world: World) -> None:
    api, told = world.callers["sysadmin"].api, []
    for path, route in lists(world):
        for value in FRAGMENTS:
            by_q = (f"q={quote(f'{key}={value}')}" for key in ("name", "username", "resource"))
            by_name = (f"{key}={quote(value)}" for key in ("name", "entityname", "group_name"))
            for question in (*by_q, *by_name):
                answer = ask(api, "GET", f"{path}?{question}")
                if answer.status_code not in {200, 400}:
                    told.append(f"{route.shape}?{question}: {answer.status_code}")
    assert not told, "\n".join(told)
    everybody = ask(api, "GET", f"/api/v2.0/users?q={quote(quote('username=~%'))}").json()
    assert everybody == [], "a % is a character of the name, not a wildcard"


# --- text that is shown again ----------------------------------------------------------------------------------------


def texts(world: World) -> Iterator[tuple[str, str, Any]]:
    """Requests that store the script in each text that has no grammar of its own."""
    own = world.tenants[OWN].values
    app = "/api/v2.0/projects/own/repositories/app"
    user = world.callers["developer"].user
    assert user is not None
    yield "PUT", app, {"description": SCRIPT}
    yield "PUT", f"/api/v2.0/labels/{own['label_id']}", {"name": SCRIPT[:60], "description": SCRIPT, "scope": "p"}
    yield "POST", "/api/v2.0/labels", {"name": SCRIPT, "description": SCRIPT, "color": SCRIPT, "scope": "g"}
    profile = {"realname": SCRIPT, "comment": SCRIPT, "email": "dev@example.org"}
    yield "PUT", f"/api/v2.0/users/{user.pk}", profile
    yield (
        "POST",
        "/api/v2.0/users",
        profile | {"username": "<script>alert(1)<", "password": PASSWORD, "email": "s@e.org"},
    )
    yield "POST", "/api/v2.0/usergroups", {"group_name": SCRIPT, "group_type": 3}
    yield "PUT", "/api/v2.0/configurations", {"banner_message": SCRIPT}
    grants = [{"kind": "project", "namespace": "own", "access": [{"resource": "repository", "action": "pull"}]}]
    robot = {"name": "x", "level": "project", "duration": 1, "description": SCRIPT, "permissions": grants}
    yield "POST", "/api/v2.0/robots", robot
    allowlist = {"items": [{"cve_id": SCRIPT}], "expires_at": None}
    yield "PUT", "/api/v2.0/projects/own", {"cve_allowlist": allowlist, "metadata": {"public": "false"}}
    for name in ("projects/" + SCRIPT, "projects?q=" + SCRIPT, "projects?sort=" + SCRIPT, "search?q=" + SCRIPT):
        yield "GET", "/api/v2.0/" + quote(name, safe="/?="), None


def test_a_script_comes_back_as_text_in_json_that_no_browser_runs(world: World) -> None:
    sysadmin = world.callers["sysadmin"].api
    stored = 0
    for method, path, body in texts(world):
        content = b"" if body is None else json.dumps(body)
        answer = sysadmin.client.generic(
            method, path, content, content_type="application/json", headers=sysadmin.headers
        )
        assert answer.status_code < 500, (method, path, answer.content)
        stored += answer.status_code in {200, 201} and body is not None
        _assert_inert(answer)
    assert stored >= 6
    for path, _ in lists(world):
        _assert_inert(sysadmin.client.get(path, headers=sysadmin.headers))
    for path in ("/configurations", "/projects/own", "/systeminfo"):
        _assert_inert(sysadmin.get(path))
    _assert_pages_are_inert()


def _assert_inert(answer: Any) -> None:
    assert "Content-Type" not in answer.headers or answer.headers["Content-Type"].startswith("application/json")


def _assert_pages_are_inert() -> None:
    """The console as the user whose name is a script sees it."""
    user = User.objects.get(username="<script>alert(1)<")
    add_member(project=Project.objects.get(name="own"), role=Role.DEVELOPER, cause=BY_SYSTEM, user=user)
    browser = Client()
    browser.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    script = quote(SCRIPT)
    for path in ("/projects", f"/projects?q={script}", "/projects/own", "/projects/own/app", f"/projects/{script}"):
        page = browser.get(path)
        assert page.status_code in {200, 404}, path
        assert b"<script>alert" not in page.content, path
        assert b"onerror=alert" not in page.content.replace(b"&lt;img src=x onerror=alert", b""), path
    refused = Client().post("/sign-in", {"username": SCRIPT, "password": "x", "next": f"/{SCRIPT}"})
    assert b"<script>alert" not in refused.content


# --- sessions --------------------------------------------------------------------------------------------------------


def test_a_session_changes_something_only_with_the_token_of_its_last_answer(world: World) -> None:
    browser = Client(enforce_csrf_checks=True)
    signed_in = browser.post("/c/login", {"principal": "projectAdmin", "password": PASSWORD})
    assert signed_in.status_code == 200
    token = browser.get("/api/v2.0/users/current").headers["X-Harbor-CSRF-Token"]

    def create(**headers: str) -> int:
        body = {"project_name": "by-session"}
        answer = browser.post("/api/v2.0/projects", body, content_type="application/json", headers=headers)
        return int(answer.status_code)

    assert create() == 403
    assert create(**{"X-Harbor-CSRF-Token": "x" * len(token)}) == 403
    assert create(**{"X-Harbor-CSRF-Token": token[::-1]}) == 403
    assert create(**{"X-Harbor-CSRF-Token": token}) == 201


def test_another_site_signs_nobody_in(world: World) -> None:
    form = {"principal": "projectAdmin", "password": PASSWORD}
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        assert Client(enforce_csrf_checks=True).post("/c/login", form, headers=headers).status_code == 403


# --- addresses and bodies --------------------------------------------------------------------------------------------

NAMES: Final = (
    "%00", "9" * 30, "9223372036854775808", "a%00b", "-1", "0", "1e3", "..%2f..%2fetc", "%252e%252e%252f", "%25252F",
    "a" * 300, "%C3%28", "%F0%9F%A7%AD", "'%20OR%201=1", "%0d%0aX-Evil:1", "$ne", "*", "~", "own%00", "%20", "null",
)  # fmt: skip
UNSTORABLE: Final = NAMES[:3]
NAMES_EACH: Final = 5


def _names_for(route: Route, place: str) -> tuple[str, ...]:
    """Those for one place of an address. The short run has each place and each name, and not each with every other."""
    if IS_FULL:
        return NAMES
    others = NAMES[len(UNSTORABLE) :]
    at = zlib.crc32(f"{route.shape} {place}".encode()) % len(others)
    return (*UNSTORABLE, *(others * 2)[at : at + NAMES_EACH])


def test_a_name_or_number_that_is_none_is_an_error_of_the_client(world: World) -> None:
    caller, known, wrong = world.callers["sysadmin"], rows(), []
    for route in routes():
        if route.is_not_yet or route.shape not in known or "{}" not in route.shape:
            continue
        names = names_in(known[route.shape][0])
        values = dict(world.tenants[OWN].values) | world.others | {"id": "1"}
        for place in names:
            for hostile in _names_for(route, place):
                path = route.at((values | {place: hostile})[name] for name in names)
                methods = sorted(known[route.shape][1])  # the name is looked up alike for all: a few ask for each
                for method in methods if hostile in UNSTORABLE else methods[-1:]:
                    status = ask(caller.api, method, path, {}).status_code
                    if status >= 500 and status != 501:
                        wrong.append(f"{method} {path[:200]}: {status}")
    assert not wrong, "\n".join(wrong)


BODIES: Final[dict[str, bytes]] = {
    "deep lists": b"[" * 200_000,
    "deep objects": b'{"a":' * 100_000,
    "no JSON": b"{'a': 1}",
    "not UTF-8": b'{"name": "\xff\xfe"}',
    "a list": b"[]",
    "text": b'"x"',
    "null": b"null",
    "NaN": b'{"role_id": NaN, "storage_limit": Infinity}',
    "two of a name": b'{"name": "a", "name": "b"}',
    "half": b'{"name": ',
    "lone surrogate": b'{"name": "\\ud800", "description": "\\ud800", "username": "\\ud800"}',
}
WRONG_VALUES: Final[tuple[Any, ...]] = (
    "\x00",
    "a\x00b",
    10**40,
    -1,
    2**63,
    1.5,
    True,
    None,
    [],
    {},
    ["\x00"],
    {"\x00": "\x00"},
    "x" * 70_000,
)
FIELDS: Final = (
    "name", "description", "color", "scope", "project_id", "project_name", "metadata", "storage_limit", "cve_allowlist",
    "registry_id", "public", "role_id", "member_user", "member_group", "username", "email", "realname", "comment",
    "password", "old_password", "new_password", "sysadmin_flag", "secret", "group_name", "group_type", "ldap_group_dn",
    "level", "duration", "permissions", "disable", "hard", "id", "uuid", "banner_message", "robot_name_prefix",
    "session_timeout", "oidc_extra_redirect_parms", "scan_all_policy", "auto_scan", "token_expiration",
)  # fmt: skip


def _changing(world: World) -> Iterator[tuple[str, str]]:
    known = rows()
    for route in routes():
        if route.is_rest and not route.is_not_yet and route.shape in known:
            names = names_in(known[route.shape][0])
            for method in known[route.shape][1].keys() & {"POST", "PUT", "PATCH"}:
                yield method, world.path(route, names, OWN, world.callers["projectAdmin"])


def test_a_body_that_is_none_is_refused_with_the_reason(world: World) -> None:
    api, wrong = world.callers["sysadmin"].api, []
    for method, path in _changing(world):
        for name, content in BODIES.items():
            status = ask(api, method, path, content=content).status_code
            if status >= 500 and status != 501:
                wrong.append(f"{method} {path}, {name}: {status}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("value", WRONG_VALUES, ids=lambda value: repr(value)[:20])
def test_a_field_of_the_wrong_kind_is_never_an_error_of_ours(world: World, value: Any) -> None:
    api, wrong = world.callers["sysadmin"].api, []
    for method, path in _changing(world):
        bodies = [
            dict.fromkeys(FIELDS, value),
            *({name: value} for name in ("name", "metadata", "permissions", "hard")),
        ]
        for body in bodies:
            status = ask(api, method, path, body).status_code
            if status >= 500 and status != 501:
                wrong.append(f"{method} {path}, {sorted(body)[:1]}: {status}")
    assert not wrong, "\n".join(wrong)


def test_a_repositorys_name_is_the_same_encoded_once_and_twice(world: World, sysadmin: Api) -> None:
    project = world.tenants[PUBLIC].project
    assert project is not None
    push_image(project, "team/deep/app")
    for encoded in ("team%2Fdeep%2Fapp", "team%252Fdeep%252Fapp"):
        shown = sysadmin.client.get(f"/api/v2.0/projects/public/repositories/{encoded}", headers=sysadmin.headers)
        assert (shown.status_code, shown.json()["name"]) == (200, "public/team/deep/app")
    for encoded in ("..%2F..%2Fown%2Fapp", "%252e%252e%252fown%252fapp", "team%25252Fdeep%25252Fapp"):
        path = f"/api/v2.0/projects/public/repositories/{encoded}"
        assert sysadmin.client.get(path, headers=sysadmin.headers).status_code in {400, 404}


@pytest.mark.usefixtures("world")
def test_a_wrong_password_names_nobody() -> None:
    for name in ("projectAdmin", "no-such-user", "robot$own+ci", "a\nb", "x" * 5000, SCRIPT):
        assert api_as(name, "Wrong-password-1").get("/projects").status_code in {401, 429}
