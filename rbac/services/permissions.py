"""Who may do what: the one place where roles, groups, robots' permissions and public projects are put together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from django.db.models import Q, QuerySet
from django.utils import timezone

from rbac.models import ProjectMember, Robot, RobotPermission, Role, User
from rbac.robot_permissions import PROJECT_PERMISSIONS, SYSTEM_PERMISSIONS
from rbac.roles import PUBLIC_ANONYMOUS, PUBLIC_SIGNED_IN, ROLE_PERMISSIONS, Permission
from registry_core.access import Subject, SubjectKind
from registry_core.content.models import Project

PULL: Final[Permission] = ("repository", "pull")
EVERYTHING: Final = ROLE_PERMISSIONS[Role.PROJECT_ADMIN] | PROJECT_PERMISSIONS
_NOTHING: Final[frozenset[Permission]] = frozenset()


def living_user(user_id: int) -> User | None:
    """The user, unless deleted or disabled."""
    return User.objects.filter(pk=user_id, is_active=True, deleted_at=None).first()


def living_robots() -> QuerySet[Robot]:
    """Robots that may act now: neither deleted, disabled nor expired, their project alive."""
    is_alive = Q(deleted_at=None, is_disabled=False) & (Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    return Robot.objects.filter(is_alive, Q(project=None) | Q(project__deleted_at=None)).select_related("project")


def living_robot(robot_id: int) -> Robot | None:
    """The robot, unless it may not act now."""
    return living_robots().filter(pk=robot_id).first()


def is_sysadmin(subject: Subject) -> bool:
    """Whether the subject may do all: the system itself, or a user with the flag. Never derived from a name."""
    if subject.kind is SubjectKind.SYSTEM:
        return True
    if subject.kind is not SubjectKind.USER:
        return False
    return User.objects.filter(pk=subject.id, is_sysadmin=True, is_active=True, deleted_at=None).exists()


def project_permissions(*, subject: Subject, project_id: int) -> frozenset[Permission]:
    """Everything that the subject may do in a project now; nothing when the project is gone.

    What is looked up does not depend on whether there is such a project: how long that takes would tell.
    """
    is_known, held = _held(subject, project_id)
    is_public = Project.objects.filter(pk=project_id, deleted_at=None).values_list("is_public", flat=True).first()
    if is_public is None or not is_known:
        return _NOTHING
    if not is_public:
        return held
    return held | (PUBLIC_ANONYMOUS if subject.is_anonymous else PUBLIC_SIGNED_IN)


def permissions_held(*, subject: Subject, project_id: int) -> frozenset[Permission]:
    """What the subject itself was given in a living project: without what anybody may do in a public one."""
    is_living = Project.objects.filter(pk=project_id, deleted_at=None).exists()
    return _held(subject, project_id)[1] if is_living else _NOTHING


def has_project_permission(*, subject: Subject, project_id: int, resource: str, action: str) -> bool:
    """Whether the subject may do `action` on `resource` of a project now; the resource "" is the project itself."""
    return (resource, action) in project_permissions(subject=subject, project_id=project_id)


def has_system_permission(*, subject: Subject, resource: str, action: str) -> bool:
    """Whether the subject may do `action` on a `resource` of the system: administrators, robots that were given it."""
    if subject.kind is SubjectKind.ROBOT:
        robot = living_robot(subject.id)
        return robot is not None and (resource, action) in system_permissions_of(robot)
    return is_sysadmin(subject)


def system_permissions_of(robot: Robot) -> frozenset[Permission]:
    """What a robot may do in the system. A project's robot never may anything there."""
    if robot.project_id is not None:
        return _NOTHING
    return _settle(robot.permissions.filter(kind=RobotPermission.Kind.SYSTEM)) & SYSTEM_PERMISSIONS


def pullable_projects(subject: Subject) -> list[int] | None:
    """Ids of the living projects that the subject may pull from, in order; None: all of them."""
    if subject.kind is SubjectKind.SYSTEM:
        return None
    is_pullable = Q(is_public=True)
    if subject.kind is SubjectKind.USER:
        user = living_user(subject.id)
        if user is None or user.is_sysadmin:
            return [] if user is None else None
        pulling_roles = [role for role, permissions in ROLE_PERMISSIONS.items() if PULL in permissions]
        is_pullable |= Q(pk__in=memberships(user.pk).filter(role__in=pulling_roles).values("project_id"))
    if subject.kind is SubjectKind.ROBOT:
        robot = living_robot(subject.id)
        if robot is None:
            return []
        is_pullable |= _projects_that_robot_pulls(robot)
    return list(Project.objects.filter(is_pullable, deleted_at=None).order_by("pk").values_list("pk", flat=True))


def memberships(user_id: int) -> QuerySet[ProjectMember]:
    """The memberships of a living user, by himself and through groups."""
    is_his = Q(user_id=user_id, user__is_active=True, user__deleted_at=None) | Q(
        group__user_links__user_id=user_id,
        group__user_links__user__is_active=True,
        group__user_links__user__deleted_at=None,
    )
    return ProjectMember.objects.filter(is_his)


def _held(subject: Subject, project_id: int) -> tuple[bool, frozenset[Permission]]:
    """Whether it is somebody who may act now, and what it was given in a project."""
    if subject.kind is SubjectKind.SYSTEM:
        return True, EVERYTHING
    if subject.kind is SubjectKind.USER:
        user = living_user(subject.id)
        return user is not None, _of_user(user, project_id) if user else _NOTHING
    if subject.kind is SubjectKind.ROBOT:
        robot = living_robot(subject.id)
        return robot is not None, _of_robot(robot, project_id) if robot else _NOTHING
    return True, _NOTHING


def _of_user(user: User, project_id: int) -> frozenset[Permission]:
    if user.is_sysadmin:
        return EVERYTHING
    roles = memberships(user.pk).filter(project_id=project_id).values_list("role", flat=True)
    return _NOTHING.union(*(ROLE_PERMISSIONS[Role(role)] for role in roles))


def _of_robot(robot: Robot, project_id: int) -> frozenset[Permission]:
    if robot.project_id not in (None, project_id):
        return _NOTHING
    rules = robot.permissions.filter(Q(project_id=project_id) | Q(project=None), kind=RobotPermission.Kind.PROJECT)
    permissions = _settle(rules) & PROJECT_PERMISSIONS
    itself = frozenset(("", action) for resource, action in permissions if resource == "project")
    return permissions | itself


def _settle(rules: Iterable[RobotPermission]) -> frozenset[Permission]:
    """What is allowed and not denied."""
    by_effect: dict[str, set[Permission]] = {effect: set() for effect in RobotPermission.Effect.values}
    for rule in rules:
        by_effect[rule.effect].add((rule.resource, rule.action))
    return frozenset(by_effect[RobotPermission.Effect.ALLOW] - by_effect[RobotPermission.Effect.DENY])


def _projects_that_robot_pulls(robot: Robot) -> Q:
    rules = robot.permissions.filter(kind=RobotPermission.Kind.PROJECT, resource=PULL[0], action=PULL[1])
    allowed = {rule.project_id for rule in rules if rule.effect == RobotPermission.Effect.ALLOW}
    denied = {rule.project_id for rule in rules if rule.effect == RobotPermission.Effect.DENY}
    is_reached = Q() if robot.project_id is None else Q(pk=robot.project_id)
    if not allowed or None in denied:
        return Q(pk__in=[])
    if None not in allowed:
        is_reached &= Q(pk__in=allowed)
    return is_reached & ~Q(pk__in=denied)
