"""`/usergroups` by REST."""

from __future__ import annotations

from typing import Any

import pytest

from rbac.models import Group, ProjectMember, Role
from rbac.services.groups import create_group
from rbac.services.members import add_member
from registry_core.content.models import Project
from tests.api.conftest import Api
from tests.support.operations import BY_SYSTEM

DN = "cn=ops+uid=7,ou=Teams\\, all,dc=example,dc=org"


def make(name: str, kind: Group.Kind = Group.Kind.HTTP) -> Group:
    return create_group(name=name, kind=kind, cause=BY_SYSTEM)


def test_a_group_is_made_shown_renamed_and_deleted(sysadmin: Api) -> None:
    made = sysadmin.post("/usergroups", {"group_name": "ops", "group_type": 2})
    assert made.status_code == 201
    path = made["Location"].removeprefix("/api/v2.0")
    shown = sysadmin.get(path).json()
    assert shown == {"id": shown["id"], "group_name": "ops", "group_type": 2}
    assert sysadmin.post("/usergroups", {"group_name": "OPS", "group_type": 2}).status_code == 409
    assert sysadmin.post("/usergroups", {"group_name": "OPS", "group_type": 3}).status_code == 201
    assert sysadmin.put(path, {"group_name": "operators", "group_type": 1}).status_code == 200
    assert sysadmin.get(path).json() == shown | {"group_name": "operators"}
    assert sysadmin.delete(path).status_code == 200
    assert (sysadmin.delete(path).status_code, sysadmin.get(path).status_code) == (404, 404)


def test_a_group_of_a_directory_is_known_by_its_distinguished_name(sysadmin: Api) -> None:
    made = sysadmin.post("/usergroups", {"group_type": 1, "ldap_group_dn": DN})
    assert sysadmin.get(made["Location"].removeprefix("/api/v2.0")).json()["group_name"] == "ops"
    same = {"group_name": "other", "group_type": 1, "ldap_group_dn": DN.upper()}
    assert sysadmin.post("/usergroups", same).status_code == 409
    listed = sysadmin.get("/usergroups").json()
    assert [group["ldap_group_dn"] for group in listed] == [DN]


@pytest.mark.parametrize(
    "wrong",
    [{}, {"group_name": "a", "group_type": 4}, {"group_name": " ", "group_type": 2}, {"group_type": 1},
     {"group_type": 1, "ldap_group_dn": "ops"}, {"group_type": 1, "ldap_group_dn": "cn=a,"},
     {"group_type": 1, "ldap_group_dn": "cn=a\\"}, {"group_type": 1, "ldap_group_dn": "cn=" + "a" * 510},
     {"group_name": "a", "group_type": 2, "ldap_group_dn": DN}, {"group_name": "a\n", "group_type": 2}]
)  # fmt: skip
def test_what_a_group_cannot_be_is_refused(sysadmin: Api, wrong: dict[str, Any]) -> None:
    assert sysadmin.post("/usergroups", wrong).status_code == 400


def test_lists_are_for_administrators_and_the_search_for_whoever_makes_members(
    sysadmin: Api, user: Api, anonymous: Api
) -> None:
    for name in ("blue", "red", "blueish"):
        make(name)
    assert [group["group_name"] for group in sysadmin.get("/usergroups?group_name=BLUE").json()] == ["blue", "blueish"]
    assert user.get("/usergroups").status_code == 403
    found = user.get("/usergroups/search?groupname=red")
    assert (found.json()[0]["group_name"], found["X-Total-Count"]) == ("red", "1")
    assert user.get("/usergroups/search").status_code == 400
    assert anonymous.get("/usergroups/search?groupname=red").status_code == 401
    assert user.post("/usergroups", {"group_name": "mine", "group_type": 2}).status_code == 403


def test_the_roles_that_a_group_gave_end_with_it(sysadmin: Api, project: Project) -> None:
    group = make("ops")
    add_member(project=project, role=Role.GUEST, group=group, cause=BY_SYSTEM)
    assert sysadmin.delete(f"/usergroups/{group.pk}").status_code == 200
    assert not ProjectMember.objects.exists()
