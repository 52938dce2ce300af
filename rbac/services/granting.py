"""The rule of granting: no subject can give a permission that it does not have, through whatever object.

Members and groups get roles, robots get permissions, a public project gives permissions to everybody, and a new secret
gives a robot's permissions to whoever learns it. Each of these operations asks here, within its transaction.
Permissions that everybody has in a public project do not count: the project may become private, and what was granted
would remain.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from django.db import connection

from rbac.models import Robot, RobotPermission, Role
from rbac.roles import PUBLIC_SIGNED_IN, ROLE_PERMISSIONS, Permission
from rbac.services.permissions import is_sysadmin, living_robot, permissions_held, system_permissions_of
from registry_core.access import Subject, SubjectKind
from registry_core.errors import NotAllowed

# Robots cannot be given the left permission; the right one implies it and robots can have it. `update` of robots has no
# counterpart: it allows new secrets for other robots.
_AS_GOOD_AS: Final[dict[Permission, Permission]] = {
    ("configuration", "read"): ("", "read"),
    ("configuration", "update"): ("", "update"),
    ("export-cve", "list"): ("export-cve", "read"),
    ("metadata", "list"): ("metadata", "read"),
    ("project", "delete"): ("", "delete"),
    ("project", "read"): ("", "read"),
    ("project", "update"): ("", "update"),
    ("repository", "create"): ("repository", "push"),
    ("tag-retention", "operate"): ("tag-retention", "update"),
}


def require_may_grant(*, by: Subject, permissions: Iterable[Permission], project_id: int) -> None:
    """Raises NotAllowed unless the acting subject has each of the permissions in the project itself."""
    held = permissions_held(subject=by, project_id=project_id)
    _require(_as_compared(permissions) <= _as_compared(held), _as_compared(permissions) - _as_compared(held))


def require_may_give_role(*, by: Subject, role: Role, project_id: int) -> None:
    """Raises NotAllowed unless the acting subject has all permissions of the role in the project."""
    require_may_grant(by=by, permissions=ROLE_PERMISSIONS[role], project_id=project_id)


def require_may_publish(*, by: Subject, project_id: int) -> None:
    """Raises NotAllowed unless the acting subject has everything that anybody may do in the project once it is
    public."""
    require_may_grant(by=by, permissions=PUBLIC_SIGNED_IN, project_id=project_id)


def require_may_grant_everywhere(*, by: Subject, permissions: Iterable[Permission]) -> None:
    """Raises NotAllowed unless the acting subject has each of the permissions in all projects, including future
    ones."""
    wanted = set(permissions)
    robot = _robot(by)
    held = _everywhere(robot) if robot else set()
    _require(is_sysadmin(by) or wanted <= held, wanted - held)


def require_may_grant_in_system(*, by: Subject, permissions: Iterable[Permission]) -> None:
    """Raises NotAllowed unless the acting subject has each of the permissions in the system."""
    wanted = set(permissions)
    robot = _robot(by)
    held = system_permissions_of(robot) if robot else frozenset()
    _require(is_sysadmin(by) or wanted <= held, wanted - held)


def require_sysadmin(by: Subject) -> None:
    """Raises NotAllowed unless the acting subject is system administrator."""
    if not is_sysadmin(by):
        raise NotAllowed("only a system administrator can do this: ask one")


def require_outlives(*, by: Subject, expires_at: datetime | None) -> None:
    """Raises NotAllowed if the new account would outlive the acting subject. `expires_at` None: never."""
    ends_at = end_of(by)
    if ends_at is not None and (expires_at is None or expires_at > ends_at):
        raise NotAllowed(
            f"a robot cannot create one that outlives itself; it expires at{ends_at:%Y-%m-%d %H:%M} UTC: "
            "choose a shorter duration, or 0 for the same expiry"
        )


def end_of(by: Subject) -> datetime | None:
    """When the acting subject expires without any change. None: never."""
    robot = _robot(by)
    return robot.expires_at if robot else None


def hold_grantor(by: Subject) -> None:
    """Keep a granting robot from being disabled or deleted until its grant is stored, so that whoever disables it sees
    what it created. Raises NotAllowed if it may no longer act. Within a transaction."""
    if by.kind is not SubjectKind.ROBOT:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM rbac_robot WHERE id = %s FOR SHARE", [by.id])
    if living_robot(by.id) is None:
        raise NotAllowed("this robot was disabled or deleted meanwhile")


def _robot(by: Subject) -> Robot | None:
    return living_robot(by.id) if by.kind is SubjectKind.ROBOT else None


def _everywhere(robot: Robot) -> set[Permission]:
    """A system robot's permissions in every project: allowed for all projects, and denied in none."""
    if robot.project_id is not None:
        return set()
    rules = list(robot.permissions.filter(kind=RobotPermission.Kind.PROJECT))
    denied = {(rule.resource, rule.action) for rule in rules if rule.effect == RobotPermission.Effect.DENY}
    allowed = {(rule.resource, rule.action) for rule in rules if rule.project_id is None}
    return allowed - denied


def _as_compared(permissions: Iterable[Permission]) -> set[Permission]:
    return {_AS_GOOD_AS.get(permission, permission) for permission in permissions}


def _require(is_within: bool, missing: set[Permission]) -> None:
    if not is_within:
        named = ", ".join(f"{action} on {resource or 'the project'}" for resource, action in sorted(missing)[:5])
        raise NotAllowed(f"you can only give permissions that you have: you lack {named}")
