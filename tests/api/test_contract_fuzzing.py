"""schemathesis with the published contract against a running registry, as each kind of caller.

Nothing it makes up may be a server error, and no answer may break the contract's schema. What this release answers
with 501 is left out. The server is this test's own: an administrator who does random things is let loose on it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from registry_core.api.not_yet import NOTHING, OPERATIONS
from tests.conftest import ServerFactory
from tests.support.extent import IS_FULL
from tests.support.people import PASSWORD, Account, admin
from tests.support.registry import make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server

CONTRACT = Path(__file__).parents[1] / "contract" / "harbor-v2.0.yaml"
SECONDS = 600 if IS_FULL else 3
CALLERS = ("sysadmin", "projectAdmin", "guest", "nobody", "robot")
NOT_YET = [name for of_address in OPERATIONS.values() for name, _ in of_address.values() if name not in NOTHING]
CHECKS = "not_a_server_error,response_schema_conformance"

_ARRANGE = f"""
from projects.services import create_project
from rbac.models import Group, RobotPermission, Role
from rbac.robot_permissions import PROJECT_PERMISSIONS
from rbac.services.members import add_member
from rbac.services.robots import RobotGrant, create_robot
from rbac.services.users import create_user
from registry_core.access import of_system
project = create_project(name="fuzz", is_public=False, cause=of_system("test"), values={{"auto_scan": "true"}})
create_user(username="sysadmin", password={PASSWORD!r}, is_sysadmin=True, cause=of_system("test"))
mids = []
for role in (Role.PROJECT_ADMIN, Role.GUEST):
    user = create_user(username=role.label, password={PASSWORD!r}, cause=of_system("test"))
    mids.append(add_member(project=project, role=role, cause=of_system("test"), user=user).pk)
victim = create_user(username="victim", password={PASSWORD!r}, email="victim@example.org", cause=of_system("test"))
mid = add_member(project=project, role=Role.GUEST, cause=of_system("test"), user=victim).pk
group = Group.objects.create(name="crew", kind=Group.Kind.HTTP)
kind = RobotPermission.Kind.PROJECT
grants = [RobotGrant(kind, *p, project_id=project.pk) for p in PROJECT_PERMISSIONS]
robot, secret = create_robot(name="all", project=project, grants=grants, cause=of_system("test"))
target, _ = create_robot(name="target", project=project, grants=grants[:2], cause=of_system("test"))
print(project.pk, mid, victim.pk, group.pk, target.pk, secret)
"""


@dataclass(frozen=True)
class Ground:
    """The server, what is on it by the names of the contract's path parameters, and who asks."""

    server: Server
    values: dict[str, str]
    callers: dict[str, Account | None]


@pytest.fixture(scope="module")
def ground(start_server: ServerFactory) -> Iterator[Ground]:
    server = start_server()
    project_id, mid, user_id, group_id, robot_id, secret = server.manage(_ARRANGE).split()
    image = make_image(layer_bytes=300)
    headers = sign_in(server, admin(server), "repository:fuzz/app:pull,push")
    with httpx.Client(base_url=server.url, headers=headers, timeout=30) as http:
        for blob in image.blobs:
            push_blob(http, "fuzz/app", blob)
        put_manifest(http, "fuzz/app", "v1", image)
    values = {
        "project_name_or_id": "fuzz", "project_name": "fuzz", "repository_name": "app", "reference": "v1",
        "tag_name": "v1", "addition": "build_history", "meta_name": "auto_scan", "mid": mid, "user_id": user_id,
        "group_id": group_id, "robot_id": robot_id, "id": project_id, "digest": image.digest,
        "label_id": _labelled(server, int(project_id), image.digest), "immutable_rule_id": _ruled(server),
    }  # fmt: skip
    people = {name: Account(name, PASSWORD) for name in ("sysadmin", "projectAdmin", "guest")}
    yield Ground(server, values, {**people, "nobody": None, "robot": Account("robot$fuzz+all", secret)})
    server.stop()


def _ruled(server: Server) -> str:
    selectors = {"kind": "doublestar", "pattern": "fuzz-*"}
    body = {
        "tag_selectors": [selectors | {"decoration": "matches"}],
        "scope_selectors": {"repository": [selectors | {"decoration": "repoMatches"}]},
    }
    with httpx.Client(auth=("admin", server.admin_password), timeout=30) as http:
        made = http.post(f"{server.url}/api/v2.0/projects/fuzz/immutabletagrules", json=body).raise_for_status()
    return str(made.headers["location"].rpartition("/")[2])


def _labelled(server: Server, project_id: int, digest: str) -> str:
    auth = ("admin", server.admin_password)
    with httpx.Client(base_url=f"{server.url}/api/v2.0", auth=auth, timeout=30) as http:
        body = {"name": "fuzz", "scope": "p", "project_id": project_id}
        label_id = http.post("/labels", json=body).raise_for_status().headers["location"].rpartition("/")[2]
        put = http.post(f"/projects/fuzz/repositories/app/artifacts/{digest}/labels", json={"id": int(label_id)})
        put.raise_for_status()
    return str(label_id)


@pytest.mark.parametrize("caller", CALLERS)
def test_no_answer_breaks_the_contract(ground: Ground, caller: str, tmp_path: Path) -> None:
    account = ground.callers[caller]
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", str(CONTRACT),
        "--url", f"{ground.server.url}/api/v2.0", "--checks", CHECKS, "--phases", "examples,fuzzing",
        "--seed", "7", "--max-time", str(SECONDS), "--continue-on-failure", "--no-shrink", "--warnings", "off",
        "--suppress-health-check", "filter_too_much",  # how hard it is to make up a request says nothing of the answer
        "--no-color",
        *(argument for operation_id in NOT_YET for argument in ("--exclude-operation-id", operation_id)),
        *(("--auth", f"{account.name}:{account.password}") if account else ()),
    ]  # fmt: skip
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": "tests.support.fuzzing",
        "FUZZ_VALUES": json.dumps(ground.values),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS + 300, check=False
    )
    print(done.stdout[-1500:])
    assert done.returncode == 0, done.stdout[-15000:] + done.stderr[-3000:]


def test_the_server_still_stands(ground: Ground) -> None:
    auth = ("admin", ground.server.admin_password)
    answer = httpx.get(f"{ground.server.url}/api/v2.0/users/current", auth=auth, timeout=30)
    assert (answer.status_code, answer.json()["sysadmin_flag"]) == (200, True)
