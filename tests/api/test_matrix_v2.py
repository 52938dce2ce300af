"""Every address of the OCI endpoint by every kind of caller in a project of his, a foreign, a public and an absent one.

The addresses come from the router's table; what each method asks for stands here. Whoever is let in asks for things
that are not there, so that nothing changes: 404 or 400 then, 401 or 403 to all others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import httpx
import pytest

from rbac.models import Role
from rbac.robot_permissions import PROJECT_PERMISSIONS
from rbac.roles import PUBLIC_ANONYMOUS, PUBLIC_SIGNED_IN, ROLE_PERMISSIONS, Permission
from registry_core.distribution.router import ROUTES
from tests.support.people import PASSWORD, Account, admin
from tests.support.server import Server

NO_DIGEST: Final = "sha256:" + "0" * 64
REPOSITORY: Final = {"pull": {("repository", "pull")}, "push": {("repository", "push")},
                     "delete": {("repository", "delete"), ("artifact", "delete")}}  # fmt: skip
READ: Final = {"GET": "pull", "HEAD": "pull"}
ROWS: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    r"/v2/(.+)/manifests/([^/]*)": (f"/v2/{{}}/manifests/{NO_DIGEST}", READ | {"PUT": "push", "DELETE": "delete"}),
    r"/v2/(.+)/blobs/uploads/?": ("/v2/{}/blobs/uploads/", {"POST": "push"}),
    r"/v2/(.+)/blobs/uploads/([^/]+)": (
        "/v2/{}/blobs/uploads/no-such", dict.fromkeys(("GET", "PATCH", "PUT", "DELETE"), "push"),
    ),
    r"/v2/(.+)/blobs/([^/]*)": (f"/v2/{{}}/blobs/{NO_DIGEST}", READ | {"DELETE": "delete"}),
    r"/v2/(.+)/tags/list": ("/v2/{}/tags/list", READ),
    r"/v2/(.+)/referrers/([^/]*)": (f"/v2/{{}}/referrers/{NO_DIGEST}", READ),
    r"/v2/_catalog": ("/v2/_catalog", dict.fromkeys(READ, "catalog")),
    r"/v2/?": ("/v2/", dict.fromkeys(READ, "signed in")),
}  # fmt: skip

_ARRANGE: Final = f"""
from projects.services import create_project
from rbac.models import RobotPermission, Role
from rbac.robot_permissions import PROJECT_PERMISSIONS
from rbac.services.members import add_member
from rbac.services.robots import RobotGrant, create_robot
from rbac.services.users import create_user
from registry_core.access import of_system
from registry_core.content.repositories import ProjectRef, ensure_repository, nothing_to_ask
from registry_core.names import RepositoryName
kind = RobotPermission.Kind
projects = {{name: create_project(name="v2-" + name, is_public=name == "public", cause=of_system("test"))
             for name in ("own", "foreign", "public")}}
for project in projects.values():
    ref = ProjectRef(project.pk, project.name, project.is_public, False)
    ensure_repository(project=ref, name=RepositoryName(project.name, "app"), cause=of_system("test"),
                      ask_for_content=nothing_to_ask)
create_user(username="v2-stranger", password={PASSWORD!r}, cause=of_system("test"))
for role in Role:
    user = create_user(username="v2-" + role.label, password={PASSWORD!r}, cause=of_system("test"))
    add_member(project=projects["own"], role=role, cause=of_system("test"), user=user)
everything = [RobotGrant(kind.PROJECT, *p, project_id=projects["own"].pk) for p in PROJECT_PERMISSIONS]
print(create_robot(name="all", project=projects["own"], grants=everything, cause=of_system("test"))[1])
print(create_robot(name="v2-catalog", grants=[RobotGrant(kind.SYSTEM, "catalog", "read")], cause=of_system("test"))[1])
"""


@dataclass(frozen=True)
class Caller:
    """Who asks, and what he may do in the project v2-own."""

    account: Account | None
    own: frozenset[Permission] = frozenset()
    may_list_catalog: bool = False
    is_sysadmin: bool = False

    def may(self, need: str, target: str) -> bool:
        if self.is_sysadmin or need == "signed in":
            return self.account is not None
        if need == "catalog":
            return self.may_list_catalog
        public = PUBLIC_SIGNED_IN if self.account else PUBLIC_ANONYMOUS
        held = {"v2-own": self.own, "v2-public": public}.get(target, frozenset())
        return bool(held & REPOSITORY[need])


@pytest.fixture(scope="module")
def callers(server: Server) -> dict[str, Caller]:
    robot_secret, catalog_secret = server.manage(_ARRANGE).split()
    roles = {
        role.label: Caller(Account(f"v2-{role.label}", PASSWORD), ROLE_PERMISSIONS[role])
        for role in Role
    }  # fmt: skip
    return roles | {
        "nobody": Caller(None),
        "stranger": Caller(Account("v2-stranger", PASSWORD)),
        "sysadmin": Caller(admin(server), is_sysadmin=True),
        "project robot": Caller(Account("robot$v2-own+all", robot_secret), PROJECT_PERMISSIONS),
        "system robot": Caller(Account("robot$v2-catalog", catalog_secret), may_list_catalog=True),
    }


def cells() -> Iterator[tuple[str, str, str, str]]:
    """Path, method, need and target of each question."""
    for route in ROUTES:
        path, needs = ROWS[route.pattern.pattern]
        for method in route.handlers:
            targets = ("v2-own", "v2-foreign", "v2-public", "v2-absent") if "{}" in path else ("",)
            for target in targets:
                yield path.format(f"{target}/app"), method, needs[method], target


def test_every_address_of_the_oci_endpoint_has_a_row() -> None:
    assert {route.pattern.pattern: set(route.handlers) for route in ROUTES} == {
        pattern: set(needs) for pattern, (_, needs) in ROWS.items()
    }


def test_the_oci_endpoint_lets_in_whom_the_role_table_names_and_nobody_else(
    server: Server, callers: dict[str, Caller]
) -> None:
    wrong = []
    for name, caller in callers.items():
        auth = (caller.account.name, caller.account.password) if caller.account else None
        with httpx.Client(base_url=server.url, auth=auth, timeout=30) as http:
            for path, method, need, target in cells():
                status = http.request(method, path).status_code
                if not _is_as_expected(status, caller, need, target):
                    wrong.append(f"{name}: {method} {path}: {status}")
    assert wrong == []


def _is_as_expected(status: int, caller: Caller, need: str, target: str) -> bool:
    if target == "v2-absent" or not caller.may(need, target):
        if caller.account is None or need == "catalog":
            return status == 401  # the catalog tells which scope a token needs for it
        return status in ({403, 404} if caller.is_sysadmin else {403})
    return status in {200, 202, 400, 404}


def test_a_foreign_project_answers_as_one_that_is_not_there(server: Server, callers: dict[str, Caller]) -> None:
    for caller in (callers["nobody"], callers["stranger"], callers["projectAdmin"]):
        auth = (caller.account.name, caller.account.password) if caller.account else None
        with httpx.Client(base_url=server.url, auth=auth, timeout=30) as http:
            for path, method, _, target in cells():
                if target == "v2-foreign":
                    foreign, absent = (
                        http.request(method, path),
                        http.request(method, path.replace(target, "v2-absent")),
                    )
                    assert re.sub(target, "v2-absent", foreign.text) == absent.text, (method, path)
