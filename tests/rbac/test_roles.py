"""The role and robot tables equal the published contract, where it lies beside the clone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rbac.models import Role
from rbac.robot_permissions import PROJECT_PERMISSIONS, SYSTEM_PERMISSIONS
from rbac.roles import ROLE_PERMISSIONS

CONTRACT = Path(__file__).parents[1] / "contract"


def contract(name: str) -> Any:
    return json.loads((CONTRACT / name).read_text())


def test_roles_have_the_numbers_and_permissions_of_the_contract() -> None:
    expected = {
        name: (role["id"], {tuple(p) for p in role["permissions"]}) for name, role in contract("roles.json").items()
    }
    assert {role.label: (role.value, set(held)) for role, held in ROLE_PERMISSIONS.items()} == expected


def test_robots_can_be_given_what_the_contract_lists() -> None:
    expected = contract("robot-permissions.json")
    assert {tuple(p) for p in expected["system"]} == SYSTEM_PERMISSIONS
    assert {tuple(p) for p in expected["project"]} == PROJECT_PERMISSIONS


def test_every_role_has_a_table() -> None:
    assert set(ROLE_PERMISSIONS) == set(Role)
