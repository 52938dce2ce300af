"""Robots as the API takes and shows them."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Annotated, Final

import msgspec

from rbac.models import Robot, RobotPermission
from rbac.services import robots
from registry_core.access import SubjectKind
from registry_core.api.messages import Answer, Body, Int64, ShortText, Text, Time, api_time

SYSTEM: Final = "system"
PROJECT: Final = "project"
EVERY_PROJECT: Final = "*"
THE_SYSTEM: Final = "/"
BY_ROBOT: Final = "robot"
CREATORS: Final = ("local", BY_ROBOT)
PERMISSIONS_MAX: Final = 2000
ACCESS_MAX: Final = 500
Description = Annotated[str, msgspec.Meta(max_length=robots.DESCRIPTION_MAX, pattern=r"^[^\x00]*$")]


class Access(msgspec.Struct, kw_only=True):
    """One action on a kind of resource. `effect`: allow or deny."""

    resource: ShortText
    action: ShortText
    effect: ShortText = "allow"


class RobotPermissions(msgspec.Struct, kw_only=True):
    """What a robot may do somewhere. `kind` system: in the system, whose namespace is /; `kind` project: in the project
    that `namespace` names, * for all."""

    kind: ShortText
    namespace: ShortText = ""
    access: Annotated[list[Access], msgspec.Meta(max_length=ACCESS_MAX)]


PermissionList = Annotated[list[RobotPermissions], msgspec.Meta(max_length=PERMISSIONS_MAX)]


class RobotAnswer(Answer, kw_only=True):
    """A robot account; `secret` is never shown here. `expires_at` in seconds since the epoch, -1: never."""

    id: int
    name: str
    description: str = ""
    secret: str = ""
    level: str
    duration: int
    editable: bool
    disable: bool
    expires_at: int
    permissions: list[RobotPermissions]
    creator_type: str
    creator_ref: int
    creation_time: Time
    update_time: Time


class RobotCreate(Body, kw_only=True):
    """A robot account to create. `duration` in days, -1: for ever, 0: as the setting robot_token_duration says."""

    name: ShortText
    level: ShortText
    description: Description = ""
    secret: Text = ""
    disable: bool = False
    duration: Int64 = 0
    permissions: PermissionList


class RobotUpdate(Body, kw_only=True):
    """What to change of a robot account: description, disable, duration and permissions, each if it is named.

    The others are taken as they are read, and may not differ from what they are (`name`, `level`) or do not matter.
    """

    id: Int64 | None = None
    name: ShortText | None = None
    description: Description | None = None
    secret: Text | None = None
    level: ShortText | None = None
    duration: Int64 | None = None
    editable: bool | None = None
    disable: bool | None = None
    expires_at: Int64 | None = None
    permissions: PermissionList | None = None
    creator_type: Text | None = None
    creator_ref: Int64 | None = None
    creation_time: Text | None = None
    update_time: Text | None = None


class RobotCreateV1(Body, kw_only=True):
    """A project's robot to create, in the older form. `expires_at` in seconds since the epoch, -1: never."""

    name: ShortText
    description: Description = ""
    expires_at: Int64 = 0
    access: Annotated[list[Access], msgspec.Meta(max_length=ACCESS_MAX)]


class RobotCreated(Answer):
    """A robot account that was created, with its secret, this once."""

    id: int
    name: str
    secret: str
    creation_time: Time
    expires_at: int


class RobotSec(Body):
    """A secret to set; empty: generate one."""

    secret: Text = ""


def robot_answer(robot: Robot) -> RobotAnswer:
    """The robot, read with its project and `permissions` with theirs, as the API shows it."""
    return RobotAnswer(
        id=robot.pk,
        name=robots.full_name(robot),
        description=robot.description,
        level=level_of(robot),
        duration=robots.lifetime_days(robot),
        editable=True,
        disable=robot.is_disabled,
        expires_at=epoch_s(robot.expires_at),
        permissions=_permissions_of(robot),
        creator_type=CREATORS[robot.created_by_kind == SubjectKind.ROBOT],
        creator_ref=robot.created_by_id,
        creation_time=api_time(robot.created_at),
        update_time=api_time(robot.updated_at),
    )


def robot_created(robot: Robot, secret: str) -> RobotCreated:
    """A new robot with its secret."""
    return RobotCreated(
        id=robot.pk,
        name=robots.full_name(robot),
        secret=secret,
        creation_time=api_time(robot.created_at),
        expires_at=epoch_s(robot.expires_at),
    )


def level_of(robot: Robot) -> str:
    """Whether it is one of the system or of a project."""
    return SYSTEM if robot.project_id is None else PROJECT


def epoch_s(moment: datetime | None) -> int:
    """Seconds since the epoch; -1 for never."""
    return int(moment.timestamp()) if moment else robots.NEVER


def _permissions_of(robot: Robot) -> list[RobotPermissions]:
    """By place; what was granted in a project that is gone is void and not shown."""
    by_place: dict[tuple[str, str], list[Access]] = defaultdict(list)
    for rule in robot.permissions.all():
        if rule.project is None or rule.project.deleted_at is None:
            access = Access(resource=rule.resource, action=rule.action, effect=rule.effect)
            by_place[rule.kind, _namespace(rule)].append(access)
    return [RobotPermissions(kind=kind, namespace=name, access=access) for (kind, name), access in by_place.items()]


def _namespace(rule: RobotPermission) -> str:
    if rule.kind == RobotPermission.Kind.SYSTEM:
        return THE_SYSTEM
    return rule.project.name if rule.project else EVERY_PROJECT
