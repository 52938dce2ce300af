"""`/robots`: robot accounts of the system and of projects."""

from __future__ import annotations

from functools import cached_property
from typing import Final

from django.db.models import BigIntegerField, DurationField, ExpressionWrapper, F, Prefetch, Q, QuerySet
from django.db.models.functions import Cast, Coalesce, Extract, Round
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from rbac.api.robot_grants import grants_of
from rbac.api.robot_messages import (
    BY_PERSON,
    BY_ROBOT,
    PROJECT,
    SYSTEM,
    RobotAnswer,
    RobotCreate,
    RobotCreated,
    RobotSec,
    RobotSecretAnswer,
    RobotUpdate,
    level_of,
    robot_answer,
    robot_created,
)
from rbac.models import Robot, RobotPermission
from rbac.services import robots
from registry_core.access import SubjectKind
from registry_core.api.base import ApiView, done, find_project
from registry_core.api.messages import parse_body
from registry_core.api.openapi import PAGED, operation
from registry_core.api.paging import ListRules, listed
from registry_core.api.permissions import Computed, Rule, in_project, in_system
from registry_core.api.query import (
    Condition,
    Exact,
    Fuzzy,
    Match,
    fixed_key,
    number_key,
    parse_q,
    text_key,
    time_key,
    truth_key,
)
from registry_core.content.models import Project
from registry_core.errors import InvalidInput, NotFound

TAG: Final = "robot"


def name_key(match: Match) -> Q:
    """The name, with or without its prefix."""
    if isinstance(match, Exact | Fuzzy):
        match = type(match)(match.value.removeprefix(robots.robot_name_prefix()).rpartition("+")[2])
    return text_key("name")(match)


def _level_key(match: Match) -> Q:
    if not isinstance(match, Exact) or match.value not in (SYSTEM, PROJECT):
        raise InvalidInput("use Level=system or Level=project,ProjectID=1")
    return Q(project__isnull=match.value == SYSTEM)


def _creator_type_key(match: Match) -> Q:
    if match not in (Exact(BY_ROBOT), Exact(BY_PERSON)):
        raise InvalidInput(f"use creator_type={BY_PERSON} or creator_type={BY_ROBOT}")
    is_robots = Q(created_by_kind=SubjectKind.ROBOT)
    return is_robots if match == Exact(BY_ROBOT) else ~is_robots


def _expires_at_key(match: Match) -> Q:
    """A robot's expiry, in seconds since the epoch (-1: never) as in answers, or as a time."""
    try:
        return number_key("expires_at_s")(match)
    except InvalidInput:
        return time_key("expires_at")(match)


def _project_key(match: Match) -> Q:
    return Q(project=None) if match == Exact("0") else number_key("project_id")(match)


KEYS: Final[dict[str, Condition]] = {
    "name": name_key,
    "description": text_key("description"),
    "disabled": truth_key("is_disabled"),
    "duration": number_key("duration_days"),
    "id": number_key("pk"),
    "visible": fixed_key(True),
    "creator_ref": number_key("created_by_id"),
    "creator_type": _creator_type_key,
    "creation_time": time_key("created_at"),
    "update_time": time_key("updated_at"),
    "expires_at": _expires_at_key,
}
SORTS: Final = {
    "id": "pk",
    "name": "name",
    "description": "description",
    "duration": "duration_days",
    "disabled": "is_disabled",
    "creator_ref": "created_by_id",
    "creation_time": "created_at",
    "update_time": "updated_at",
}
ORDER: Final = ("name",)
RULES: Final = ListRules(keys={**KEYS, "Level": _level_key, "ProjectID": _project_key}, sorts=SORTS, order=ORDER)


class RobotsView(ApiView):
    """`/robots`."""

    access = {"GET": Computed(lambda view: view.rule("list")), "POST": Computed(lambda view: view.rule("create"))}

    @cached_property
    def asked(self) -> RobotCreate:
        """The robot to create, from the body."""
        return parse_body(self.request, RobotCreate)

    @cached_property
    def named_project(self) -> str:
        """The project of the robots to list, by its id, or of the robot to create, by its name; empty for the system's.
        Raises InvalidInput."""
        if self.is_creating:
            return _project_of_new(self.asked) or ""
        return _project_asked_for(self.request.query_params.get("q", "")) or ""

    @cached_property
    def found_project(self) -> Project | None:
        """The living project of that name or id; None if there is none."""
        return find_project(self.named_project, is_name=self.is_creating) if self.named_project else None

    @property
    def is_creating(self) -> bool:
        """Whether the body names the project, and not the query."""
        return self.request.method == "POST"

    def rule(self, action: str) -> Rule:
        """The permission on robots of that project, or of the system."""
        return in_project("robot", action) if self.named_project else in_system("robot", action)

    @operation("ListRobot", TAG, parameters=PAGED, answer=list[RobotAnswer], errors=(400, 401, 403, 404))
    def get(self, request: Request) -> Response:
        """List the robots of the system, or with `q=Level=project,ProjectID=1` those of a project."""
        rows = with_lifetimes(
            Robot.objects.filter(deleted_at=None, project=self.project if self.named_project else None)
        )
        return listed(request, rows, RULES, lambda found: [robot_answer(robot) for robot in found], load=load)

    @operation("CreateRobot", TAG, body=RobotCreate, answer=RobotCreated, status=201, errors=(400, 401, 403, 404, 409))
    def post(self, request: Request) -> Response:
        """Create a robot. Its secret is in the answer and cannot be read again."""
        asked, now = self.asked, timezone.now()
        robot, secret = robots.create_robot(
            name=asked.name,
            grants=grants_of(asked.permissions, self.subject),
            cause=self.cause,
            project=self.project if self.named_project else None,
            description=asked.description,
            secret=asked.secret,
            is_disabled=asked.disable,
            expires_at=robots.expiry(days=asked.duration, since=now, by=self.subject),
            created_at=now,
        )
        location = f"{request.path}/{robot.pk}"
        return Response(robot_created(robot, secret), status=201, headers={"Location": location})


class RobotView(ApiView):
    """`/robots/{robot_id}`."""

    access = {
        "GET": Computed(lambda view: view.rule("read")),
        "PUT": Computed(lambda view: view.rule("update")),
        "PATCH": Computed(lambda view: view.rule("update")),
        "DELETE": Computed(lambda view: view.rule("delete")),
    }

    @cached_property
    def found_project(self) -> Project | None:
        """The project of the URL's robot."""
        return self.found.project if self.found else None

    @cached_property
    def found(self) -> Robot | None:
        """The living robot of the URL, of a living project or of the system."""
        return load([self.kwargs["robot_id"]]).first()

    @property
    def robot(self) -> Robot:
        """The robot of the URL. Raises NotFound."""
        if self.found is None:
            raise NotFound(f"there is no robot {self.kwargs['robot_id']}")
        return self.found

    def rule(self, action: str) -> Rule:
        """The permission on robots of the robot's project, or of the system."""
        is_of_project = self.found is not None and self.found.project_id is not None
        return in_project("robot", action) if is_of_project else in_system("robot", action)

    @operation("GetRobotByID", TAG, answer=RobotAnswer)
    def get(self, _request: Request, robot_id: int) -> Response:
        """Get a robot."""
        return Response(robot_answer(self.robot))

    @operation("UpdateRobot", TAG, body=RobotUpdate, errors=(400, 401, 403, 404, 409))
    def put(self, request: Request, robot_id: int) -> Response:
        """Set a robot's description and disable, and duration and permissions if they are in the request."""
        robot, asked = self.robot, parse_body(request, RobotUpdate)
        check_unchanged(robot, asked)
        robots.update_robot(
            robot=robot,
            cause=self.cause,
            description=asked.description,
            is_disabled=asked.disable,
            days=_other_than(asked.duration, robots.lifetime_days(robot)),
            grants=grants_of(asked.permissions, self.subject) if asked.permissions else None,
        )
        return done()

    @operation("RefreshSec", TAG, body=RobotSec, answer=RobotSecretAnswer)
    def patch(self, request: Request, robot_id: int) -> Response:
        """Give a robot a new secret; the old one and its tokens become invalid at once."""
        robot, asked = self.robot, parse_body(request, RobotSec)
        secret = robots.refresh_robot_secret(robot=robot, secret=asked.secret, cause=self.cause)
        return Response(RobotSecretAnswer(secret="" if asked.secret else secret))

    @operation("DeleteRobot", TAG)
    def delete(self, _request: Request, robot_id: int) -> Response:
        """Delete a robot."""
        robots.delete_robot(robot=self.robot, cause=self.cause)
        return done()


def with_lifetimes(rows: QuerySet[Robot]) -> QuerySet[Robot]:
    """The robots with `duration_days` and `expires_at_s` as in answers, -1 for robots that do not expire."""
    lifetime = ExpressionWrapper(F("expires_at") - F("created_at"), DurationField())
    days = Cast(Round(Extract(lifetime, "epoch") / 86_400.0), BigIntegerField())
    end_s = Cast(Extract("expires_at", "epoch"), BigIntegerField())
    return rows.annotate(duration_days=Coalesce(days, robots.NEVER), expires_at_s=Coalesce(end_s, robots.NEVER))


def load(keys: list[int]) -> QuerySet[Robot]:
    """Living robots with everything that their messages need."""
    rules = RobotPermission.objects.select_related("project").order_by("pk")
    living = Robot.objects.filter(Q(project=None) | Q(project__deleted_at=None), pk__in=keys, deleted_at=None)
    return living.select_related("project").prefetch_related(Prefetch("permissions", rules))


def check_unchanged(robot: Robot, asked: RobotUpdate) -> None:
    """Raises InvalidInput if the request would change the robot's name or level."""
    if asked.name not in (None, "", robot.name, robots.full_name(robot)) or asked.level not in (
        None,
        "",
        level_of(robot),
    ):
        raise InvalidInput("name and level of a robot cannot be changed: create another one")


def _other_than(days: int | None, now: int) -> int | None:
    return None if days == now else days


def _project_of_new(asked: RobotCreate) -> str | None:
    """The name of the project of a new robot; None: the system's. Raises InvalidInput."""
    if asked.level == SYSTEM:
        return None
    if asked.level != PROJECT:
        raise InvalidInput("level is project or system")
    named = {permission.namespace for permission in asked.permissions}
    if len(named) != 1 or not all(named):
        raise InvalidInput(
            "permissions of a robot of level project name that one project as their namespace; more than one, or "
            "all (*), can be given to a robot of level system"
        )
    return named.pop()


def _project_asked_for(q: str) -> str | None:
    """The id of the project whose robots are requested; None: the system's. Raises InvalidInput."""
    conditions = parse_q(q)
    level, project = conditions.get("level"), conditions.get("projectid")
    if project == Exact("0") and level in (None, Exact(SYSTEM)):
        return None  # robots of the system have no project
    if isinstance(project, Exact) and project.value and level != Exact(SYSTEM):
        return project.value
    if project is not None or level == Exact(PROJECT):
        raise InvalidInput("to list robots of a project use q=Level=project,ProjectID=1")
    return None
