"""Robots: accounts for machines. Each function is one transaction.

A robot's full name is `robot$name`, or `robot$project+name` for one of a project; the setting `robot_name_prefix` may
have something else in the place of `robot$`. The name only finds the row: what a robot may do comes from its
permissions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import IntegrityError
from django.db.models import F
from django.db.models.functions import Now

from rbac.models import Robot, RobotPermission
from rbac.robot_permissions import PROJECT_PERMISSIONS, SYSTEM_PERMISSIONS
from rbac.services.changes import rights_change, robot_key
from rbac.services.passwords import hash_chosen
from rbac.services.permissions import living_robot, living_robots, project_permissions, system_permissions_of
from rbac.services.secret_hashes import generate_secret, hash_generated, looks_generated
from registry_core.access import Subject, SubjectKind
from registry_core.content.models import Project
from registry_core.errors import AlreadyExists, InvalidInput, NotAllowed
from registry_core.settings_store.values import current

_NAME: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class RobotGrant:
    """One permission asked for a robot. Kind project without a project: in all projects."""

    kind: RobotPermission.Kind
    resource: str
    action: str
    project_id: int | None = None
    effect: RobotPermission.Effect = RobotPermission.Effect.ALLOW


def robot_name_prefix() -> str:
    """What every robot's name begins with: the setting of that name."""
    return current().text("robot_name_prefix")


def full_name(robot: Robot) -> str:
    """The name a robot signs in with."""
    return robot_name_prefix() + (f"{robot.project.name}+" if robot.project else "") + robot.name


def robot_subject(robot: Robot) -> Subject:
    """The robot as one who asks."""
    return Subject(SubjectKind.ROBOT, robot.pk, full_name(robot))


def find_robot(username: str) -> Robot | None:
    """The robot that signs in under `username` and may act now."""
    prefix = robot_name_prefix()
    if not username.startswith(prefix):
        return None
    project, plus, name = username.removeprefix(prefix).rpartition("+")
    if plus:
        return living_robots().filter(project__name=project, name=name).first()
    return living_robots().filter(project=None, name=name).first()


def create_robot(
    *,
    name: str,
    grants: Sequence[RobotGrant],
    by: Subject,
    project: Project | None = None,
    description: str = "",
    secret: str = "",
    is_disabled: bool = False,
    expires_at: datetime | None = None,
) -> tuple[Robot, str]:
    """Create a robot; returns it with its secret, which is shown this once. `expires_at` None: never.

    Raises InvalidInput, AlreadyExists, or NotAllowed when the creator is a robot that may less than the new one.
    """
    if len(name) > 255 or _NAME.fullmatch(name) is None:
        raise InvalidInput("a robot's name has lower-case letters, digits and single . _ or - between them")
    _check_grants(grants, project, by)
    stored, shown = _new_secret(secret)
    robot = Robot(name=name, project=project, description=description, is_disabled=is_disabled, expires_at=expires_at)
    robot.secret_hash, robot.is_chosen_secret = stored, bool(secret)
    robot.created_by_kind, robot.created_by_id = int(by.kind), by.id
    project_id = project.pk if project else None
    try:
        with rights_change(kind="robot.created", by=by, project_id=project_id, payload={"name": full_name(robot)}):
            robot.save(force_insert=True)
            _write_grants(robot, grants)
    except IntegrityError:
        raise AlreadyExists("a robot with this name exists already: choose another") from None
    return robot, shown


def set_grants(*, robot: Robot, grants: Sequence[RobotGrant], by: Subject) -> None:
    """Replace what a robot may do. Raises InvalidInput or NotAllowed."""
    _check_grants(grants, robot.project, by)
    with _robot_change(robot, "robot.updated", by):
        robot.permissions.all().delete()
        _write_grants(robot, grants)


def refresh_robot_secret(*, robot: Robot, by: Subject, secret: str = "") -> str:
    """Give a robot a new secret and return it: `secret`, or a generated one when empty. Its tokens die.

    Raises InvalidInput when the given one is too weak.
    """
    stored, shown = _new_secret(secret)
    with _robot_change(robot, "robot.secret_changed", by):
        _update(robot, secret_hash=stored, is_chosen_secret=bool(secret), **_new_credentials())
    return shown


def set_disabled(*, robot: Robot, is_disabled: bool, by: Subject) -> None:
    """Stop a robot from acting, or let it again; its tokens die when it is stopped."""
    with _robot_change(robot, "robot.updated", by):
        _update(robot, is_disabled=is_disabled, **(_new_credentials() if is_disabled else {}))


def delete_robot(*, robot: Robot, by: Subject) -> None:
    """Delete a robot; the name is free again, the tokens die."""
    with _robot_change(robot, "robot.deleted", by):
        _update(robot, deleted_at=Now(), **_new_credentials())


def _robot_change(robot: Robot, kind: str, by: Subject) -> AbstractContextManager[None]:
    payload = {"name": full_name(robot)}
    return rights_change(robot_key(robot.pk), kind=kind, by=by, project_id=robot.project_id, payload=payload)


def _update(robot: Robot, **values: object) -> None:
    Robot.objects.filter(pk=robot.pk).update(**{"updated_at": Now(), **values})
    robot.refresh_from_db()


def _new_credentials() -> dict[str, object]:
    return {"credential_version": F("credential_version") + 1}


def _new_secret(chosen: str) -> tuple[str, str]:
    """The stored hash and the secret itself."""
    if not chosen:
        generated = generate_secret()
        return hash_generated(generated), generated
    if looks_generated(chosen):
        raise InvalidInput("this has the form of a generated secret: leave it empty to have one generated")
    return hash_chosen(chosen), chosen


def _write_grants(robot: Robot, grants: Sequence[RobotGrant]) -> None:
    RobotPermission.objects.bulk_create(
        RobotPermission(
            robot=robot,
            kind=grant.kind,
            project_id=grant.project_id,
            resource=grant.resource,
            action=grant.action,
            effect=grant.effect,
        )
        for grant in dict.fromkeys(grants)
    )


def _check_grants(grants: Sequence[RobotGrant], project: Project | None, by: Subject) -> None:
    for grant in grants:
        _check_exists(grant)
        if project is not None and (grant.kind, grant.project_id) != (RobotPermission.Kind.PROJECT, project.pk):
            raise InvalidInput("a project's robot can be given permissions in its own project only")
        if by.kind is SubjectKind.ROBOT and grant.effect == RobotPermission.Effect.ALLOW:
            _check_within(grant, by)


def _check_exists(grant: RobotGrant) -> None:
    is_system = grant.kind == RobotPermission.Kind.SYSTEM
    if (grant.resource, grant.action) not in (SYSTEM_PERMISSIONS if is_system else PROJECT_PERMISSIONS):
        raise InvalidInput(f"a robot cannot be given {grant.action} on {grant.resource} as a {grant.kind} permission")
    if is_system and grant.project_id is not None:
        raise InvalidInput("a system permission names no project")


def _check_within(grant: RobotGrant, by: Subject) -> None:
    creator = living_robot(by.id)
    wanted = (grant.resource, grant.action)
    if creator is None:
        is_within = False
    elif grant.kind == RobotPermission.Kind.SYSTEM:
        is_within = wanted in system_permissions_of(creator)
    elif grant.project_id is None:
        is_within = creator.project_id is None and _is_allowed_everywhere(creator, wanted)
    else:
        is_within = wanted in project_permissions(subject=by, project_id=grant.project_id)
    if not is_within:
        raise NotAllowed(f"a robot cannot give what it does not have: {grant.action} on {grant.resource}")


def _is_allowed_everywhere(robot: Robot, wanted: tuple[str, str]) -> bool:
    rules = robot.permissions.filter(kind=RobotPermission.Kind.PROJECT, resource=wanted[0], action=wanted[1])
    is_denied = any(rule.effect == RobotPermission.Effect.DENY for rule in rules)
    return not is_denied and any(rule.project_id is None for rule in rules)
