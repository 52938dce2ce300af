"""Request and response messages of robots."""

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
BY_PERSON: Final = "local"
BY_ROBOT: Final = "robot"
PERMISSIONS_MAX: Final = 2000
ACCESS_MAX: Final = 500
Description = Annotated[str, msgspec.Meta(max_length=robots.DESCRIPTION_MAX, pattern=r"^[^\x00]*$")]


class Access(msgspec.Struct, kw_only=True):
    """One action on a kind of resource. `effect`: allow or deny."""

    resource: ShortText
    action: ShortText
    effect: ShortText = "allow"


class RobotPermissions(msgspec.Struct, kw_only=True):
    """A robot's permissions in one place. `kind` system: in the system, whose namespace is /; `kind` project: in the
    project `namespace`, * for all projects."""

    kind: ShortText
    namespace: ShortText = ""
    access: Annotated[list[Access], msgspec.Meta(max_length=ACCESS_MAX)] = []


PermissionList = Annotated[list[RobotPermissions], msgspec.Meta(max_length=PERMISSIONS_MAX)]


class RobotAnswer(Answer, kw_only=True):
    """A robot account, without its secret. `expires_at` in seconds since the epoch, -1: never."""

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
    """A robot account to create. `duration` in days, -1: never expires, 0: as the setting robot_token_duration says."""

    name: ShortText = ""
    level: ShortText = ""
    description: Description = ""
    secret: Text = ""
    disable: bool = False
    duration: Int64 = 0
    permissions: PermissionList = []


class RobotUpdate(Body, kw_only=True):
    """The new state of a robot account. If left out, description becomes empty and disable false, while duration and
    permissions are unchanged.

    The other fields are accepted as they were read: `name` and `level` must not differ, the rest is ignored.
    """

    id: Int64 | None = None
    name: ShortText | None = None
    description: Description = ""
    secret: Text | None = None
    level: ShortText | None = None
    duration: Int64 | None = None
    editable: bool | None = None
    disable: bool = False
    expires_at: Int64 | None = None
    permissions: PermissionList | None = None
    creator_type: Text | None = None
    creator_ref: Int64 | None = None
    creation_time: Text | None = None
    update_time: Text | None = None


class RobotCreateV1(Body, kw_only=True):
    """A project's robot to create, in the older form. `expires_at` in seconds since the epoch, -1: never."""

    name: ShortText = ""
    description: Description = ""
    expires_at: Int64 = 0
    access: Annotated[list[Access], msgspec.Meta(max_length=ACCESS_MAX)] = []


class RobotCreated(Answer):
    """A created robot account with its secret, which cannot be read again."""

    id: int
    name: str
    secret: str
    creation_time: Time
    expires_at: int


class RobotSec(Body):
    """A secret to set; empty: generate one."""

    secret: Text = ""


class RobotSecretAnswer(Answer):
    """The generated secret; empty if the client chose it."""

    secret: str = ""


def robot_answer(robot: Robot) -> RobotAnswer:
    """The message for a robot, which was loaded with its project and with `permissions` and their projects."""
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
        creator_type=BY_ROBOT if robot.created_by_kind == SubjectKind.ROBOT else BY_PERSON,
        creator_ref=robot.created_by_id,
        creation_time=api_time(robot.created_at),
        update_time=api_time(robot.updated_at),
    )


def robot_created(robot: Robot, secret: str) -> RobotCreated:
    """The message for a new robot with its secret."""
    return RobotCreated(
        id=robot.pk,
        name=robots.full_name(robot),
        secret=secret,
        creation_time=api_time(robot.created_at),
        expires_at=epoch_s(robot.expires_at),
    )


def level_of(robot: Robot) -> str:
    """Whether it is a robot of the system or of a project."""
    return SYSTEM if robot.project_id is None else PROJECT


def epoch_s(moment: datetime | None) -> int:
    """Seconds since the epoch; -1 for never."""
    return int(moment.timestamp()) if moment else robots.NEVER


def _permissions_of(robot: Robot) -> list[RobotPermissions]:
    """Permissions by place. Those in deleted projects are void and not shown."""
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
