"""Converts the permissions in a request into grants: names become ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rbac.api.robot_messages import EVERY_PROJECT, PROJECT, SYSTEM, THE_SYSTEM, Access, RobotPermissions
from rbac.models import RobotPermission
from rbac.services.robots import RobotGrant
from registry_core.access import Subject
from registry_core.content.models import Project
from registry_core.distribution.rights import is_sysadmin
from registry_core.errors import InvalidInput, NotAllowed, NotFound


def grants_of(asked: Sequence[RobotPermissions], by: Subject) -> list[RobotGrant]:
    """The requested grants. Raises InvalidInput; for an unknown project NotFound to administrators and NotAllowed to
    others."""
    if not any(permission.access for permission in asked):
        raise InvalidInput("a robot needs permissions: name at least one")
    projects = _projects(asked, by)
    return [
        grant_of(access, RobotPermission.Kind(permission.kind), projects[permission.namespace])
        for permission in asked
        for access in permission.access
    ]


def grant_of(access: Access, kind: RobotPermission.Kind, project_id: int | None) -> RobotGrant:
    """One grant. Raises InvalidInput."""
    effect = access.effect or RobotPermission.Effect.ALLOW
    if effect not in RobotPermission.Effect.values:
        raise InvalidInput("the effect of a permission is allow or deny")
    return RobotGrant(kind, access.resource, access.action, project_id, RobotPermission.Effect(effect))


def _projects(asked: Sequence[RobotPermissions], by: Subject) -> Mapping[str, int | None]:
    """The ids of the projects that the permissions name; None for the system and for all projects."""
    wanted = {permission.namespace for permission in asked if _is_of_one_project(permission)}
    living = Project.objects.filter(deleted_at=None, name__in=wanted)
    found: dict[str, int | None] = dict(living.values_list("name", "pk"))
    if missing := wanted - found.keys():
        unknown = f"there is no project {min(missing)}"
        raise NotFound(unknown) if is_sysadmin(by) else NotAllowed(f"{unknown}in which you may give rights")
    return found | {THE_SYSTEM: None, EVERY_PROJECT: None, "": None}


def _is_of_one_project(permission: RobotPermissions) -> bool:
    """Raises InvalidInput if kind and namespace do not match."""
    if permission.kind == SYSTEM and permission.namespace in ("", THE_SYSTEM):
        return False
    if permission.kind == PROJECT and permission.namespace not in ("", THE_SYSTEM):
        return permission.namespace != EVERY_PROJECT
    raise InvalidInput("a permission is of kind system with namespace /, or of kind project with a project's name or *")
