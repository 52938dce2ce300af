"""Small arrangements through the operations, for the tests of rights."""

from __future__ import annotations

from projects.services import create_project
from rbac.models import Robot, RobotPermission, Role, User
from rbac.services.members import add_member
from rbac.services.robots import RobotGrant, create_robot
from rbac.services.users import create_user
from registry_core.access import SYSTEM, Subject
from registry_core.content.models import Project
from tests.support.operations import BY_SYSTEM, on_behalf_of

PASSWORD = "Harbour12Lights"


def user(name: str, *, is_sysadmin: bool = False) -> User:
    return create_user(username=name, password=PASSWORD, is_sysadmin=is_sysadmin, cause=BY_SYSTEM)


def project(name: str, *, is_public: bool = False, by: Subject = SYSTEM) -> Project:
    return create_project(name=name, is_public=is_public, cause=on_behalf_of(by))


def member(name: str, of: Project, role: Role) -> User:
    person = user(name)
    add_member(project=of, role=role, cause=BY_SYSTEM, user=person)
    return person


def allow(action: str, *, resource: str = "repository", on: Project | None = None) -> RobotGrant:
    return RobotGrant(RobotPermission.Kind.PROJECT, resource, action, project_id=on.pk if on else None)


def robot(name: str, *grants: RobotGrant, of: Project | None = None) -> tuple[Robot, str]:
    return create_robot(name=name, grants=grants, cause=BY_SYSTEM, project=of)
