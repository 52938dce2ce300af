"""Nobody gives a right that it does not have itself: each way of giving one, by each kind of grantor, over REST."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import pytest
from django.utils import timezone

from projects.services import create_project, set_public
from rbac.models import Group, ProjectMember, Robot, RobotPermission, Role, User
from rbac.robot_permissions import PROJECT_PERMISSIONS, SYSTEM_PERMISSIONS
from rbac.roles import ROLE_PERMISSIONS
from rbac.services.groups import create_group
from rbac.services.members import add_member
from rbac.services.robots import RobotGrant, create_robot, delete_robot, full_name, robot_subject
from rbac.services.users import create_user, set_sysadmin
from registry_core.access import Subject, authority
from registry_core.content.models import Project
from registry_core.errors import NotAllowed
from tests.api.conftest import PASSWORD, Api, api_as
from tests.support.operations import BY_SYSTEM, on_behalf_of

PROJECT, EVERYWHERE, OF_SYSTEM = "project", "everywhere", "system"
_KIND: Final = RobotPermission.Kind
GUEST_LIKE: Final = ROLE_PERMISSIONS[Role.GUEST] & PROJECT_PERMISSIONS | {("project", "read")}
BY_NAME: Final = {"X-Is-Resource-Name": "true"}


@dataclass(frozen=True)
class World:
    """A private project with things to be given rights over, and the grantors."""

    project: Project
    member: ProjectMember
    robot: Robot
    group: Group
    grantors: Mapping[str, Api] = field(default_factory=dict)


def _robot(name: str, grants: list[RobotGrant], of: Project | None = None, **options: Any) -> Api:
    robot, secret = create_robot(name=name, grants=grants, cause=BY_SYSTEM, project=of, **options)
    return api_as(full_name(robot), secret)


def _in(project: Project | None, permissions: Any) -> list[RobotGrant]:
    place = project.pk if project else None
    return [RobotGrant(_KIND.PROJECT, resource, action, place) for resource, action in permissions]


def _user(name: str, **options: Any) -> User:
    return create_user(username=name, password=PASSWORD, email=f"{name}@example.org", cause=BY_SYSTEM, **options)


def _member(name: str, of: Project, role: Role) -> Api:
    add_member(project=of, role=role, cause=BY_SYSTEM, user=_user(name))
    return api_as(name, PASSWORD)


@pytest.fixture
def world(db: None) -> World:
    fleet = create_project(name="fleet", is_public=False, cause=BY_SYSTEM)
    create_project(name="other", is_public=False, cause=BY_SYSTEM)
    _user("newcomer")
    _user("boss", is_sysadmin=True)
    member = add_member(project=fleet, role=Role.LIMITED_GUEST, cause=BY_SYSTEM, user=_user("limited"))
    robot, _ = create_robot(name="idle", grants=_in(fleet, [("repository", "push")]), cause=BY_SYSTEM, project=fleet,
                            is_disabled=True)  # fmt: skip
    group = create_group(name="crew", kind=Group.Kind.OIDC, cause=BY_SYSTEM)
    add_member(project=fleet, role=Role.GUEST, cause=BY_SYSTEM, group=group)
    granting = {("member", "create"), ("member", "update"), ("robot", "create"), ("metadata", "update"),
                ("metadata", "create"), ("project", "update")}  # fmt: skip
    system_granting = [RobotGrant(_KIND.SYSTEM, *right) for right in (("robot", "create"), ("user-group", "update"))]
    everything = _in(None, PROJECT_PERMISSIONS) + [RobotGrant(_KIND.SYSTEM, *right) for right in SYSTEM_PERMISSIONS]
    grantors = {
        "sysadmin": api_as("boss", PASSWORD),
        "project admin": _member("captain", fleet, Role.PROJECT_ADMIN),
        "maintainer": _member("mate", fleet, Role.MAINTAINER),
        "granting robot": _robot("granting", _in(fleet, granting), fleet),
        "guest robot": _robot("guest", _in(fleet, granting | GUEST_LIKE), fleet),
        "full robot": _robot("full", _in(fleet, PROJECT_PERMISSIONS), fleet),
        "system robot": _robot("system", system_granting),
        "full system robot": _robot("all", everything),
    }
    return World(fleet, member, robot, group, grantors)


def _permission(kind: str, namespace: str, right: str) -> dict[str, Any]:
    resource, action = right.split()
    return {"kind": kind, "namespace": namespace, "access": [{"resource": resource, "action": action}]}


def _new_robot(level: str, *permissions: dict[str, Any]) -> Callable[[Api, World], Any]:
    body = {"name": "child", "level": level, "duration": -1, "permissions": list(permissions)}
    return lambda api, world: api.post("/robots", body)


def _role(role: Role, **who: Any) -> Callable[[Api, World], Any]:
    body = {"role_id": int(role), **(who or {"member_user": {"username": "newcomer"}})}
    return lambda api, world: api.post("/projects/fleet/members", body)


def _change(role: Role) -> Callable[[Api, World], Any]:
    return lambda api, world: api.put(f"/projects/fleet/members/{world.member.pk}", {"role_id": int(role)})


ADMINS: Final = {"sysadmin", "project admin"}
FULL: Final = ADMINS | {"full robot", "full system robot"}
GUESTS: Final = FULL | {"guest robot"}
ROBOT_OF_FLEET: Final = "/projects/fleet/robots"
# Each way to give a right, and who may: everybody else is refused.
WAYS: Final[Mapping[str, tuple[Callable[[Api, World], Any], set[str]]]] = {
    "a guest": (_role(Role.GUEST), GUESTS),
    "a limited guest": (_role(Role.LIMITED_GUEST), GUESTS),
    "a developer": (_role(Role.DEVELOPER), FULL),
    "a maintainer": (_role(Role.MAINTAINER), FULL),
    # Administrators give other robots new secrets, which no robot can be allowed to.
    "an administrator": (_role(Role.PROJECT_ADMIN), ADMINS),
    "a group of administrators": (
        _role(Role.PROJECT_ADMIN, member_group={"group_name": "new-crew", "group_type": 3}),
        ADMINS,
    ),
    "a raise to guest": (_change(Role.GUEST), GUESTS),
    "a raise to developer": (_change(Role.DEVELOPER), FULL),
    "a raise to administrator": (_change(Role.PROJECT_ADMIN), ADMINS),
    "a robot that pulls": (_new_robot(PROJECT, _permission("project", "fleet", "repository pull")), GUESTS),
    "a robot that pushes": (_new_robot(PROJECT, _permission("project", "fleet", "repository push")), FULL),
    "a robot that makes robots": (
        _new_robot(PROJECT, _permission("project", "fleet", "robot create")),
        GUESTS | {"granting robot"},
    ),
    "an older robot that pushes": (
        lambda api, world: api.post(
            ROBOT_OF_FLEET,
            {"name": "child", "expires_at": -1, "access": [{"resource": "repository", "action": "push"}]},
        ),
        FULL,
    ),
    "a robot of another project": (
        _new_robot(PROJECT, _permission("project", "other", "repository pull")),
        {"sysadmin", "full system robot"},
    ),
    "a robot of all projects": (
        _new_robot(OF_SYSTEM, _permission("project", "*", "repository pull")),
        {"sysadmin", "full system robot"},
    ),
    "a robot of the system that reads users": (
        _new_robot(OF_SYSTEM, _permission("system", "/", "user list")),
        {"sysadmin", "full system robot"},
    ),
    "a robot of the system that makes robots": (
        _new_robot(OF_SYSTEM, _permission("system", "/", "robot create")),
        {"sysadmin", "full system robot", "system robot"},
    ),
    "more permissions": (
        lambda api, world: api.put(
            f"/robots/{world.robot.pk}", {"permissions": [_permission("project", "fleet", "repository delete")]}
        ),
        ADMINS,
    ),
    "a longer life": (lambda api, world: api.put(f"/robots/{world.robot.pk}", {"duration": 100}), ADMINS),
    "another chance": (lambda api, world: api.put(f"/robots/{world.robot.pk}", {"disable": False}), ADMINS),
    "a new secret": (lambda api, world: api.patch(f"/robots/{world.robot.pk}", {"secret": ""}), ADMINS),
    "everybody, by metadata": (
        lambda api, world: api.put("/projects/fleet/metadatas/public", {"public": "true"}),
        GUESTS,
    ),
    "everybody, by the project": (
        lambda api, world: api.put("/projects/fleet", {"metadata": {"public": "true"}}, **BY_NAME),
        GUESTS,
    ),
    "a group's roles by its name": (
        lambda api, world: api.put(f"/usergroups/{world.group.pk}", {"group_name": "everyone", "group_type": 3}),
        {"sysadmin", "full system robot"},
    ),
    "everything": (
        lambda api, world: api.put(
            f"/users/{User.objects.get(username='newcomer').pk}/sysadmin", {"sysadmin_flag": True}
        ),
        {"sysadmin"},
    ),
    "another's password": (
        lambda api, world: api.put(
            f"/users/{User.objects.get(username='newcomer').pk}/password", {"new_password": "Another-1-word"}
        ),
        {"sysadmin"},
    ),
    "the quota": (
        lambda api, world: api.put(f"/quotas/{world.project.pk}", {"hard": {"storage": -1}}),
        {"sysadmin", "full system robot"},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_only_who_has_a_right_gives_it(world: World, way: str) -> None:
    give, may = WAYS[way]
    answers = {}
    for name, api in world.grantors.items():
        before = _given(world)
        answer = give(api, world)
        answers[name] = (answer.status_code, answer.content[:200])
        if answer.status_code == 403:
            assert _given(world) == before, f"{name} left something behind"
        _undo(world)
    assert {name for name, (status, _) in answers.items() if status in {200, 201}} == may, answers
    assert {status for name, (status, _) in answers.items() if name not in may} <= {403}, answers


def _given(world: World) -> tuple[object, ...]:
    """Everything by which somebody has a right."""
    rights = (
        ProjectMember.objects.values_list("project", "user", "group", "role"),
        Robot.objects.values_list("pk", "is_disabled", "credential_version", "deleted_at"),
        RobotPermission.objects.values_list("robot", "resource", "action"),
        Group.objects.values_list("pk", "name"),
        User.objects.values_list("pk", "is_sysadmin", "credential_version"),
        Project.objects.values_list("pk", "is_public", "storage_limit_bytes"),
    )
    return tuple(frozenset(rows) for rows in rights)


def _undo(world: World) -> None:
    ProjectMember.objects.filter(user__username="newcomer").delete()
    Robot.objects.filter(name="child").delete()
    Group.objects.exclude(pk=world.group.pk).delete()
    Group.objects.filter(pk=world.group.pk).update(name="crew")
    ProjectMember.objects.filter(pk=world.member.pk).update(role=Role.LIMITED_GUEST)
    Robot.objects.filter(pk=world.robot.pk).update(is_disabled=True, expires_at=None)
    set_public(project=world.project, is_public=False, cause=BY_SYSTEM)
    newcomer = User.objects.get(username="newcomer")
    if newcomer.is_sysadmin:
        set_sysadmin(user=newcomer, is_sysadmin=False, cause=BY_SYSTEM)


def test_a_refusal_says_what_is_missing(world: World) -> None:
    refused = WAYS["a guest"][0](world.grantors["granting robot"], world)
    assert (
        "you can only give permissions that you have: you lack read on the project, list on accessory"
        in refused.content.decode()
    )


def _mortal(project: Project, *, seconds: int) -> Api:
    ends_at = timezone.now() + timedelta(seconds=seconds)
    return _robot("mortal", _in(project, [("robot", "create"), ("repository", "pull")]), project, expires_at=ends_at)


@pytest.mark.parametrize(
    ("address", "body", "status"),
    [
        ("/robots", {"duration": -1}, 403),
        ("/robots", {"duration": 1}, 403),
        ("/robots", {"duration": 36500}, 403),
        ("/robots", {"duration": 0}, 201),
        ("/robots", {}, 201),
        (ROBOT_OF_FLEET, {"expires_at": -1}, 403),
        (ROBOT_OF_FLEET, {"expires_at": 7200}, 403),
        (ROBOT_OF_FLEET, {"expires_at": 60}, 201),
        (ROBOT_OF_FLEET, {"expires_at": 0}, 201),
    ],
)
def test_a_robot_makes_none_that_lives_longer_than_itself(
    world: World, address: str, body: dict[str, int], status: int
) -> None:
    api = _mortal(world.project, seconds=3600)
    body = {
        name: int(time.time()) + value if name == "expires_at" and value > 0 else value for name, value in body.items()
    }
    if address == "/robots":
        asked = {
            "name": "child",
            "level": "project",
            "permissions": [_permission("project", "fleet", "repository pull")],
        }
    else:
        asked = {"name": "child", "access": [{"resource": "repository", "action": "pull"}]}
    answer = api.post(address, asked | body)
    assert answer.status_code == status, answer.content
    if status == 201:
        child, mortal = Robot.objects.get(name="child"), Robot.objects.get(name="mortal")
        assert child.expires_at is not None
        assert mortal.expires_at is not None
        assert child.expires_at <= mortal.expires_at


def test_rights_in_a_public_project_are_nobody_s_to_give(world: World) -> None:
    set_public(project=world.project, is_public=True, cause=BY_SYSTEM)
    refused = WAYS["a robot that pulls"][0](world.grantors["granting robot"], world)
    assert refused.status_code == 403
    refused = _new_robot(OF_SYSTEM, _permission("project", "fleet", "repository pull"))(
        world.grantors["system robot"], world
    )
    assert refused.status_code == 403


def test_what_is_denied_to_a_robot_it_does_not_give(world: World) -> None:
    rules = _in(None, [("repository", "pull"), ("robot", "create")])
    rules.append(RobotGrant(_KIND.PROJECT, "repository", "pull", world.project.pk, RobotPermission.Effect.DENY))
    api = _robot("all-but-one", [*rules, RobotGrant(_KIND.SYSTEM, "robot", "create")])
    for namespace, status in (("fleet", 403), ("*", 403), ("other", 201)):
        made = _new_robot(OF_SYSTEM, _permission("project", namespace, "repository pull"))(api, world)
        assert made.status_code == status, (namespace, made.content)


def test_a_robot_that_was_made_lives_on_and_is_found_by_its_creator(world: World) -> None:
    api = world.grantors["guest robot"]
    made = WAYS["a robot that pulls"][0](api, world).json()
    creator = Robot.objects.get(name="guest")
    delete_robot(robot=creator, cause=BY_SYSTEM)
    child = Robot.objects.get(pk=made["id"])
    assert authority().actions_by_project(subject=robot_subject(child), project_ids=[world.project.pk])[
        world.project.pk
    ] == {"pull"}
    query = f"q=Level=project,ProjectID={world.project.pk},creator_type=robot,creator_ref={creator.pk}"
    found = world.grantors["project admin"].get(f"/robots?{query}").json()
    assert [(robot["id"], robot["creator_type"], robot["creator_ref"]) for robot in found] == [
        (child.pk, "robot", creator.pk)
    ]


def test_who_was_stopped_meanwhile_gives_nothing(world: World) -> None:
    creator = Robot.objects.get(name="full")
    subject: Subject = robot_subject(creator)
    delete_robot(robot=creator, cause=BY_SYSTEM)
    with pytest.raises(NotAllowed):
        create_robot(name="late", grants=[], cause=on_behalf_of(subject), project=world.project)
    with pytest.raises(NotAllowed):
        add_member(
            project=world.project,
            role=Role.GUEST,
            cause=on_behalf_of(subject),
            user=User.objects.get(username="newcomer"),
        )
