"""Robots: accounts for machines. Each function is one transaction.

A robot's full name is `robot$name`, or `robot$project+name` for a robot of a project; the setting `robot_name_prefix`
replaces `robot$`. The name only identifies the row: what a robot may do is given by its permissions.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from django.db import IntegrityError, connection
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from rbac.events import RobotCreated, RobotDeleted, RobotEvent, RobotSecretChanged, RobotUpdated
from rbac.models import Robot, RobotPermission
from rbac.robot_permissions import PROJECT_PERMISSIONS, SYSTEM_PERMISSIONS
from rbac.roles import Permission
from rbac.services.changes import rights_change, robot_key
from rbac.services.granting import (
    end_of,
    hold_grantor,
    require_may_grant,
    require_may_grant_everywhere,
    require_may_grant_in_system,
    require_outlives,
)
from rbac.services.passwords import hash_chosen
from rbac.services.permissions import is_sysadmin, living_robots
from rbac.services.secret_hashes import generate_secret, hash_generated, looks_generated
from registry_core.access import Cause, Subject, SubjectKind
from registry_core.content.models import Project
from registry_core.errors import AlreadyExists, InvalidInput, NotFound
from registry_core.settings_store.values import current

NEVER: Final = -1
DAYS_MAX: Final = 36_500
GRANTS_MAX: Final = 10_000
DESCRIPTION_MAX: Final = 1024
_NAME: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class RobotGrant:
    """A requested permission of a robot. Kind project without a project: in all projects."""

    kind: RobotPermission.Kind
    resource: str
    action: str
    project_id: int | None = None
    effect: RobotPermission.Effect = RobotPermission.Effect.ALLOW


def robot_name_prefix() -> str:
    """The prefix of every robot's name: the setting of that name."""
    return current().text("robot_name_prefix")


def full_name(robot: Robot) -> str:
    """The name with which a robot signs in."""
    return robot_name_prefix() + (f"{robot.project.name}+" if robot.project else "") + robot.name


def robot_subject(robot: Robot) -> Subject:
    """The robot as a subject."""
    return Subject(SubjectKind.ROBOT, robot.pk, full_name(robot))


def find_robot(username: str) -> Robot | None:
    """The robot that signs in as `username`, if it may act now."""
    prefix = robot_name_prefix()
    if not username.startswith(prefix):
        return None
    project, plus, name = username.removeprefix(prefix).rpartition("+")
    if plus:
        return living_robots().filter(project__name=project, name=name).first()
    return living_robots().filter(project=None, name=name).first()


def expiry(*, days: int, since: datetime, by: Subject) -> datetime | None:
    """The expiry of a robot created at `since` for `days` days; None for -1: never. 0: as long as the setting
    `robot_token_duration` says, but no longer than the acting subject lives. Raises InvalidInput."""
    if days == 0:
        return _earlier(_after(current().number("robot_token_duration"), since), end_of(by))
    return _after(days, since)


def _after(days: int, since: datetime) -> datetime | None:
    if days == NEVER:
        return None
    if not 1 <= days <= DAYS_MAX:
        raise InvalidInput(f"duration is a number of days from 1 to {DAYS_MAX}, or -1 for never")
    return since + timedelta(days=days)


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((moment for moment in (one, other) if moment is not None), default=None)


def lifetime_days(robot: Robot) -> int:
    """The lifetime of the robot in whole days; -1: it does not expire."""
    return round((robot.expires_at - robot.created_at) / timedelta(days=1)) if robot.expires_at else NEVER


def create_robot(
    *,
    name: str,
    grants: Sequence[RobotGrant],
    cause: Cause,
    project: Project | None = None,
    description: str = "",
    secret: str = "",
    is_disabled: bool = False,
    expires_at: datetime | None = None,
    created_at: datetime | None = None,
) -> tuple[Robot, str]:
    """Create a robot; returns it with its secret, which cannot be read again. `expires_at` None: never.

    A robot does not depend on its creator: it stays when the creator is disabled or deleted, and can be found by it
    (`created_by`). Raises InvalidInput, AlreadyExists, NotFound if a project is deleted meanwhile, or NotAllowed if the
    new robot would have more permissions than its creator, or outlive it.
    """
    if len(name) > 255 or _NAME.fullmatch(name) is None:
        raise InvalidInput("a robot's name has lower-case letters, digits and single . _ or - between them")
    _check_description(description)
    _check_grants(grants, project)
    _require_may_make(grants, expires_at, cause.subject)  # before the costly hash
    stored, shown = _new_secret(secret, cause.subject)
    robot = Robot(name=name, project=project, description=description, is_disabled=is_disabled, expires_at=expires_at)
    robot.secret_hash, robot.is_chosen_secret = stored, bool(secret)
    robot.created_by_kind, robot.created_by_id = int(cause.subject.kind), cause.subject.id
    robot.created_at = created_at or timezone.now()
    project_id, event = project.pk if project else None, RobotCreated(name=full_name(robot))
    try:
        with rights_change(event, cause=cause, project_id=project_id):
            hold_grantor(cause.subject)
            _require_may_make(grants, expires_at, cause.subject)
            _hold_projects({grant.project_id for grant in grants} | {project_id})
            robot.save(force_insert=True)
            _write_grants(robot, grants)
    except IntegrityError:
        raise AlreadyExists("a robot with this name already exists: choose another name") from None
    return robot, shown


def update_robot(
    *,
    robot: Robot,
    cause: Cause,
    description: str | None = None,
    is_disabled: bool | None = None,
    days: int | None = None,
    grants: Sequence[RobotGrant] | None = None,
) -> None:
    """Change the given values of a robot, in one transaction; disabling it invalidates its tokens.

    `days` count from its creation. Raises InvalidInput, NotFound if it is deleted meanwhile, or NotAllowed if the
    acting subject lacks a permission that the robot gets, or could newly use for longer or again.
    """
    _check_description(description or "")
    values: dict[str, object] = {"description": description, "is_disabled": is_disabled}
    values = {name: value for name, value in values.items() if value is not None}
    expires_at = robot.expires_at if days is None else expiry(days=days, since=robot.created_at, by=cause.subject)
    if days is not None:
        values["expires_at"] = expires_at
    if grants is not None:
        _check_grants(grants, robot.project)
    with _robot_change(robot, RobotUpdated, cause):
        if grants is not None or days is not None or is_disabled is False:
            hold_grantor(cause.subject)
            _require_may_make(_grants_of(robot) if grants is None else grants, expires_at, cause.subject)
        if grants is not None:
            _hold_projects({grant.project_id for grant in grants})
            robot.permissions.all().delete()
            _write_grants(robot, grants)
        _update(robot, **values, **(_new_credentials() if is_disabled else {}))


def set_grants(*, robot: Robot, grants: Sequence[RobotGrant], cause: Cause) -> None:
    """Replace a robot's permissions. Raises InvalidInput, NotAllowed or NotFound."""
    update_robot(robot=robot, cause=cause, grants=grants)


def refresh_robot_secret(*, robot: Robot, cause: Cause, secret: str = "") -> str:
    """Give a robot a new secret and return it: `secret`, or a generated one if empty. Its tokens become invalid.

    Raises InvalidInput if the given one is too weak, NotAllowed if the robot has permissions that the acting subject
    lacks, which could then act as the robot.
    """
    _require_may_make(_grants_of(robot), robot.expires_at, cause.subject)  # before the costly hash
    stored, shown = _new_secret(secret, cause.subject)
    with _robot_change(robot, RobotSecretChanged, cause):
        hold_grantor(cause.subject)
        _require_may_make(_grants_of(robot), robot.expires_at, cause.subject)
        _update(robot, secret_hash=stored, is_chosen_secret=bool(secret), **_new_credentials())
    return shown


def set_disabled(*, robot: Robot, is_disabled: bool, cause: Cause) -> None:
    """Disable or enable a robot; disabling it invalidates its tokens."""
    update_robot(robot=robot, cause=cause, is_disabled=is_disabled)


def delete_robot(*, robot: Robot, cause: Cause) -> None:
    """Delete a robot; its name becomes available, its tokens become invalid."""
    with _robot_change(robot, RobotDeleted, cause):
        _update(robot, deleted_at=Now(), **_new_credentials())


@contextmanager
def _robot_change(robot: Robot, happened: type[RobotEvent], cause: Cause) -> Iterator[None]:
    """The frame of a change of a living robot. Raises NotFound if it was deleted."""
    event = happened(name=full_name(robot))
    with rights_change(event, robot_key(robot.pk), cause=cause, project_id=robot.project_id):
        if not Robot.objects.select_for_update().filter(pk=robot.pk, deleted_at=None).exists():
            raise NotFound("this robot does not exist any more")
        yield


def _update(robot: Robot, **values: object) -> None:
    Robot.objects.filter(pk=robot.pk).update(**{"updated_at": Now(), **values})
    robot.refresh_from_db()


def _new_credentials() -> dict[str, object]:
    return {"credential_version": F("credential_version") + 1}


def _new_secret(chosen: str, by: Subject) -> tuple[str, str]:
    """The stored hash and the secret itself."""
    if not chosen:
        generated = generate_secret()
        return hash_generated(generated), generated
    if looks_generated(chosen):
        raise InvalidInput("this has the form of a generated secret: leave it empty to generate one")
    return hash_chosen(chosen, lane=by.key), chosen


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


def _hold_projects(project_ids: Iterable[int | None]) -> None:
    """Keep projects from being deleted until what refers to them is stored. Raises NotFound."""
    wanted = sorted({project_id for project_id in project_ids if project_id is not None})
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM content_project WHERE id = ANY(%s) AND deleted_at IS NULL ORDER BY id FOR KEY SHARE",
            [wanted],
        )
        if len(cursor.fetchall()) < len(wanted):
            raise NotFound("this project does not exist any more")


def _check_description(text: str) -> None:
    if len(text) > DESCRIPTION_MAX or "\x00" in text:
        raise InvalidInput(f"a description has at most {DESCRIPTION_MAX} characters")


def _check_grants(grants: Sequence[RobotGrant], project: Project | None) -> None:
    if len(grants) > GRANTS_MAX:
        raise InvalidInput(f"a robot has at most {GRANTS_MAX} permissions: use the namespace * for all projects")
    if len({replace(grant, effect=RobotPermission.Effect.ALLOW) for grant in grants}) < len(set(grants)):
        raise InvalidInput("the same permission is both allowed and denied: name it once")
    for grant in grants:
        _check_exists(grant)
        if project is not None and (grant.kind, grant.project_id) != (RobotPermission.Kind.PROJECT, project.pk):
            raise InvalidInput("a robot of a project can only be given permissions in that project")


def _check_exists(grant: RobotGrant) -> None:
    is_system = grant.kind == RobotPermission.Kind.SYSTEM
    if (grant.resource, grant.action) not in (SYSTEM_PERMISSIONS if is_system else PROJECT_PERMISSIONS):
        raise InvalidInput(f"a robot cannot be given {grant.action} on {grant.resource} as a {grant.kind} permission")
    if is_system and grant.project_id is not None:
        raise InvalidInput("a system permission must not name a project")


def _require_may_make(grants: Iterable[RobotGrant], expires_at: datetime | None, by: Subject) -> None:
    """Raises NotAllowed unless the acting subject has every permission of a robot with these grants, for at least as
    long."""
    if is_sysadmin(by):
        return
    require_outlives(by=by, expires_at=expires_at)
    by_place: dict[tuple[str, int | None], set[Permission]] = defaultdict(set)
    for grant in grants:
        if grant.effect == RobotPermission.Effect.ALLOW:
            by_place[grant.kind, grant.project_id].add((grant.resource, grant.action))
    for (kind, project_id), permissions in by_place.items():
        if kind == RobotPermission.Kind.SYSTEM:
            require_may_grant_in_system(by=by, permissions=permissions)
        elif project_id is None:
            require_may_grant_everywhere(by=by, permissions=permissions)
        else:
            require_may_grant(by=by, permissions=permissions, project_id=project_id)


def _grants_of(robot: Robot) -> list[RobotGrant]:
    """The robot's permissions, without those in deleted projects."""
    rules = robot.permissions.filter(Q(project=None) | Q(project__deleted_at=None))
    return [
        RobotGrant(
            RobotPermission.Kind(rule.kind),
            rule.resource,
            rule.action,
            rule.project_id,
            RobotPermission.Effect(rule.effect),
        )
        for rule in rules
    ]
