"""Who may do what: the one place that combines roles, groups, permissions of robots and public projects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
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
    """The user, unless it is deleted or disabled."""
    return User.objects.filter(pk=user_id, is_active=True, deleted_at=None).first()


def living_robots() -> QuerySet[Robot]:
    """Robots that may act now: not deleted, disabled or expired, and in a living project."""
    is_alive = Q(deleted_at=None, is_disabled=False) & (Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    return Robot.objects.filter(is_alive, Q(project=None) | Q(project__deleted_at=None)).select_related("project")


def living_robot(robot_id: int) -> Robot | None:
    """The robot, unless it may not act now."""
    return living_robots().filter(pk=robot_id).first()


def is_sysadmin(subject: Subject) -> bool:
    """Whether the subject is system administrator: the system itself, or a user with the flag. Never derived from a
    name."""
    if subject.kind is SubjectKind.SYSTEM:
        return True
    if subject.kind is not SubjectKind.USER:
        return False
    return User.objects.filter(pk=subject.id, is_sysadmin=True, is_active=True, deleted_at=None).exists()


def project_permissions(*, subject: Subject, project_id: int) -> frozenset[Permission]:
    """All permissions of the subject in a project now; none if the project is deleted."""
    return permissions_by_project(subject=subject, project_ids=[project_id]).get(project_id, _NOTHING)


def permissions_by_project(*, subject: Subject, project_ids: Collection[int]) -> dict[int, frozenset[Permission]]:
    """All permissions of the subject in each of the living projects now, with a number of statements that does not
    depend on the number of projects.

    The same look-ups are made whether or not the projects exist, so that the time does not reveal it.
    """
    held = _held(subject, project_ids)
    is_public = dict(Project.objects.filter(pk__in=project_ids, deleted_at=None).values_list("pk", "is_public"))
    if held is None:
        return dict.fromkeys(is_public, _NOTHING)
    of_public = PUBLIC_ANONYMOUS if subject.is_anonymous else PUBLIC_SIGNED_IN
    return {i: held.get(i, _NOTHING) | (of_public if public else _NOTHING) for i, public in is_public.items()}


def permissions_held(*, subject: Subject, project_id: int) -> frozenset[Permission]:
    """The permissions given to the subject itself in a living project, without those that everybody has in a public
    one."""
    is_living = Project.objects.filter(pk=project_id, deleted_at=None).exists()
    held = _held(subject, [project_id]) if is_living else None
    return (held or {}).get(project_id, _NOTHING)


def has_project_permission(*, subject: Subject, project_id: int, resource: str, action: str) -> bool:
    """Whether the subject may do `action` on `resource` of a project now; the resource "" is the project itself."""
    return (resource, action) in project_permissions(subject=subject, project_id=project_id)


def has_system_permission(*, subject: Subject, resource: str, action: str) -> bool:
    """Whether the subject may do `action` on a `resource` of the system: administrators, and robots with that
    permission."""
    if subject.kind is SubjectKind.ROBOT:
        robot = living_robot(subject.id)
        return robot is not None and (resource, action) in system_permissions_of(robot)
    return is_sysadmin(subject)


def system_permissions_of(robot: Robot) -> frozenset[Permission]:
    """A robot's permissions in the system. A robot of a project never has any."""
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
    """The memberships of a living user, direct and through groups."""
    is_his = Q(user_id=user_id, user__is_active=True, user__deleted_at=None) | Q(
        group__user_links__user_id=user_id,
        group__user_links__user__is_active=True,
        group__user_links__user__deleted_at=None,
    )
    return ProjectMember.objects.filter(is_his)


def _held(subject: Subject, project_ids: Collection[int]) -> dict[int, frozenset[Permission]] | None:
    """The permissions given to the subject in each of the projects. None: it may not act now, or does not exist."""
    if subject.kind is SubjectKind.SYSTEM:
        return dict.fromkeys(project_ids, EVERYTHING)
    if subject.kind is SubjectKind.USER:
        user = living_user(subject.id)
        return _of_user(user, project_ids) if user else None
    if subject.kind is SubjectKind.ROBOT:
        robot = living_robot(subject.id)
        return _of_robot(robot, project_ids) if robot else None
    return {}


def _of_user(user: User, project_ids: Collection[int]) -> dict[int, frozenset[Permission]]:
    if user.is_sysadmin:
        return dict.fromkeys(project_ids, EVERYTHING)
    granted: dict[int, frozenset[Permission]] = {}
    for project_id, role in memberships(user.pk).filter(project_id__in=project_ids).values_list("project_id", "role"):
        granted[project_id] = granted.get(project_id, _NOTHING) | ROLE_PERMISSIONS[Role(role)]
    return granted


def _of_robot(robot: Robot, project_ids: Collection[int]) -> dict[int, frozenset[Permission]]:
    is_about = Q(project_id__in=project_ids) | Q(project=None)
    rules: dict[int | None, list[RobotPermission]] = defaultdict(list)
    for rule in robot.permissions.filter(is_about, kind=RobotPermission.Kind.PROJECT):
        rules[rule.project_id].append(rule)
    reached = project_ids if robot.project_id is None else {robot.project_id}.intersection(project_ids)
    return {i: _given_to_robot([*rules[None], *rules[i]]) for i in reached}


def _given_to_robot(rules: Iterable[RobotPermission]) -> frozenset[Permission]:
    permissions = _settle(rules) & PROJECT_PERMISSIONS
    itself = frozenset(("", action) for resource, action in permissions if resource == "project")
    return permissions | itself


def _settle(rules: Iterable[RobotPermission]) -> frozenset[Permission]:
    """The permissions that are allowed and not denied."""
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
