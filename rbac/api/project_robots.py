"""`/projects/{project_name_or_id}/robots`: the older URLs of a project's robots, for clients that use them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from rbac.api.robot_grants import grant_of
from rbac.api.robot_messages import (
    Access,
    RobotAnswer,
    RobotCreated,
    RobotCreateV1,
    RobotUpdate,
    robot_answer,
    robot_created,
)
from rbac.api.robots import KEYS, ORDER, SORTS, check_unchanged, load, with_lifetimes
from rbac.models import Robot, RobotPermission
from rbac.services import robots
from rbac.services.robots import RobotGrant
from registry_core.access import Subject
from registry_core.api.base import ApiView, done
from registry_core.api.messages import parse_body
from registry_core.api.openapi import IS_NAME, PAGED, operation
from registry_core.api.paging import ListRules, listed
from registry_core.api.permissions import in_project
from registry_core.errors import InvalidInput, NotFound

TAG: Final = "robotv1"
RULES: Final = ListRules(keys=KEYS, sorts=SORTS, order=ORDER)
_RESOURCE: Final = re.compile(r"(?:/project/[0-9]+/)?([a-z-]+)")


class ProjectRobotsView(ApiView):
    """`/projects/{project_name_or_id}/robots`."""

    access = {"GET": in_project("robot", "list"), "POST": in_project("robot", "create")}

    @operation("ListRobotV1", TAG, parameters=[IS_NAME, *PAGED], answer=list[RobotAnswer])
    def get(self, request: Request, project_name_or_id: str) -> Response:
        """List the robots of a project."""
        rows = with_lifetimes(Robot.objects.filter(deleted_at=None, project=self.project))
        return listed(request, rows, RULES, lambda found: [robot_answer(robot) for robot in found], load=load)

    @operation(
        "CreateRobotV1",
        TAG,
        parameters=[IS_NAME],
        body=RobotCreateV1,
        answer=RobotCreated,
        status=201,
        errors=(400, 401, 403, 404, 409),
    )
    def post(self, request: Request, project_name_or_id: str) -> Response:
        """Create a robot in the project. Its secret is in the answer and cannot be read again."""
        asked = parse_body(request, RobotCreateV1)
        now = timezone.now()
        robot, secret = robots.create_robot(
            name=asked.name,
            grants=[_grant(access, self.project.pk) for access in asked.access],
            cause=self.cause,
            project=self.project,
            description=asked.description,
            expires_at=_expiry(asked.expires_at, now, self.subject),
            created_at=now,
        )
        location = f"{request.path}/{robot.pk}"
        return Response(robot_created(robot, secret), status=201, headers={"Location": location})


class ProjectRobotView(ApiView):
    """`/projects/{project_name_or_id}/robots/{robot_id}`."""

    access = {
        "GET": in_project("robot", "read"),
        "PUT": in_project("robot", "update"),
        "DELETE": in_project("robot", "delete"),
    }

    @property
    def robot(self) -> Robot:
        """The robot of the URL, within its project. Raises NotFound."""
        found = load([self.kwargs["robot_id"]]).filter(project=self.project).first()
        if found is None:
            raise NotFound(f"the project has no robot {self.kwargs['robot_id']}")
        return found

    @operation("GetRobotByIDV1", TAG, parameters=[IS_NAME], answer=RobotAnswer)
    def get(self, _request: Request, project_name_or_id: str, robot_id: int) -> Response:
        """Get a robot of the project."""
        return Response(robot_answer(self.robot))

    @operation("UpdateRobotV1", TAG, parameters=[IS_NAME], body=RobotUpdate)
    def put(self, request: Request, project_name_or_id: str, robot_id: int) -> Response:
        """Change a robot's description and disable; other fields are ignored here."""
        robot, asked = self.robot, parse_body(request, RobotUpdate)
        check_unchanged(robot, asked)
        robots.update_robot(robot=robot, cause=self.cause, description=asked.description, is_disabled=asked.disable)
        return done()

    @operation("DeleteRobotV1", TAG, parameters=[IS_NAME])
    def delete(self, _request: Request, project_name_or_id: str, robot_id: int) -> Response:
        """Delete a robot of the project."""
        robots.delete_robot(robot=self.robot, cause=self.cause)
        return done()


def _grant(access: Access, project_id: int) -> RobotGrant:
    """A grant in the project, whatever project the long form `/project/1/repository` of the resource names."""
    resource = _RESOURCE.fullmatch(access.resource)
    if resource is None:
        raise InvalidInput("write the resource as /project/1/repository")
    access.resource = resource[1]
    return grant_of(access, RobotPermission.Kind.PROJECT, project_id)


def _expiry(expires_at: int, now: datetime, by: Subject) -> datetime | None:
    """The expiry for seconds since the epoch; None for -1: never. 0: as the setting says. Raises InvalidInput."""
    if expires_at in (0, robots.NEVER):
        return robots.expiry(days=expires_at, since=now, by=by)
    latest = now + timedelta(days=robots.DAYS_MAX)
    if not now.timestamp() < expires_at <= latest.timestamp():
        raise InvalidInput("expires_at is a time in the future, in seconds since the epoch, or -1 for never")
    return datetime.fromtimestamp(expires_at, UTC)
