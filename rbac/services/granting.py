"""The rule of granting: nobody gives a right that it does not have itself, through whatever object.

Members and groups get roles, robots get permissions, a public project gives rights to everybody, and a new secret gives
a robot's rights to whoever learns it. Each of these operations asks here, within its transaction. What anybody may do
in a public project is nobody's own: the project may be private tomorrow, and what was granted stays.
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

# No robot can be given the left one. The right one allows as much, and robots can have it. `update` of robots has no
# counterpart: it means new secrets for other robots.
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
    """Raises NotAllowed unless `by` has each of the permissions in the project itself."""
    held = permissions_held(subject=by, project_id=project_id)
    _require(_as_compared(permissions) <= _as_compared(held), _as_compared(permissions) - _as_compared(held))


def require_may_give_role(*, by: Subject, role: Role, project_id: int) -> None:
    """Raises NotAllowed unless `by` has everything in the project that the role gives."""
    require_may_grant(by=by, permissions=ROLE_PERMISSIONS[role], project_id=project_id)


def require_may_publish(*, by: Subject, project_id: int) -> None:
    """Raises NotAllowed unless `by` has everything that all may do in the project once it is public."""
    require_may_grant(by=by, permissions=PUBLIC_SIGNED_IN, project_id=project_id)


def require_may_grant_everywhere(*, by: Subject, permissions: Iterable[Permission]) -> None:
    """Raises NotAllowed unless `by` has each of the permissions in all projects, also in those to come."""
    wanted = set(permissions)
    robot = _robot(by)
    held = _everywhere(robot) if robot else set()
    _require(is_sysadmin(by) or wanted <= held, wanted - held)


def require_may_grant_in_system(*, by: Subject, permissions: Iterable[Permission]) -> None:
    """Raises NotAllowed unless `by` has each of the permissions of the system."""
    wanted = set(permissions)
    robot = _robot(by)
    held = system_permissions_of(robot) if robot else frozenset()
    _require(is_sysadmin(by) or wanted <= held, wanted - held)


def require_sysadmin(by: Subject) -> None:
    """Raises NotAllowed unless `by` may do all: what such a one gives is everything."""
    if not is_sysadmin(by):
        raise NotAllowed("only a system administrator can do this: ask one of them")


def require_outlives(*, by: Subject, expires_at: datetime | None) -> None:
    """Raises NotAllowed when something made by `by` would live longer than `by` itself. `expires_at` None: for ever."""
    ends_at = end_of(by)
    if ends_at is not None and (expires_at is None or expires_at > ends_at):
        raise NotAllowed(
            f"a robot cannot make one that lives longer than itself, until {ends_at:%Y-%m-%d %H:%M} UTC: "
            "choose a shorter duration, or 0 for the same end"
        )


def end_of(by: Subject) -> datetime | None:
    """When `by` ends by the clock alone. None: never."""
    robot = _robot(by)
    return robot.expires_at if robot else None


def hold_grantor(by: Subject) -> None:
    """Keep a robot that grants from being stopped or deleted before what it grants is there: who stops it then sees
    what it made. Raises NotAllowed when it may not act any longer. Within a transaction."""
    if by.kind is not SubjectKind.ROBOT:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM rbac_robot WHERE id = %s FOR SHARE", [by.id])
    if living_robot(by.id) is None:
        raise NotAllowed("this robot was stopped meanwhile")


def _robot(by: Subject) -> Robot | None:
    return living_robot(by.id) if by.kind is SubjectKind.ROBOT else None


def _everywhere(robot: Robot) -> set[Permission]:
    """What a robot of the system may do in every project: allowed for all of them, and denied in none."""
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
        raise NotAllowed(f"nobody can give a right without having it: you lack {named}")
