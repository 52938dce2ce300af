"""Projects with one thing of each kind in them, and somebody of each kind who asks, made by the operations."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from django.test import Client

from projects.services import create_project
from rbac.models import Robot, RobotPermission, Role, User
from rbac.robot_permissions import PROJECT_PERMISSIONS
from rbac.roles import PUBLIC_ANONYMOUS, PUBLIC_SIGNED_IN, ROLE_PERMISSIONS, Permission
from rbac.services.members import add_member
from rbac.services.robots import RobotGrant, create_robot, full_name
from rbac.services.users import create_user
from registry_core.content.manifests import put_manifest
from registry_core.content.models import Project
from registry_core.content.parsing import OCI_MANIFEST, parse_manifest
from registry_core.content.repositories import ProjectRef
from registry_core.names import RepositoryName
from tests.api.conftest import PASSWORD, Api, api_as
from tests.support.operations import BY_SYSTEM, make_repository

OWN, FOREIGN, PUBLIC, ABSENT = "own", "foreign", "public", "absent"
NO_SUCH: Final = 987654321
ROBOT_RIGHT: Final[Permission] = ("quota", "read")
_ROBOT_ITSELF: Final = frozenset(("", action) for resource, action in PROJECT_PERMISSIONS if resource == "project")


@dataclass(frozen=True)
class Tenant:
    """A project, and by the names that addresses have for it: what is in it."""

    project: Project | None
    values: Mapping[str, str]


@dataclass(frozen=True)
class Caller:
    """Who asks. `role` is his in the project OWN."""

    name: str
    api: Api
    user: User | None = None
    role: Role | None = None
    is_project_robot: bool = False
    system_rights: frozenset[Permission] = field(default_factory=frozenset)

    @property
    def is_anonymous(self) -> bool:
        return self.name == "nobody"

    @property
    def is_sysadmin(self) -> bool:
        return self.name == "sysadmin"

    def rights_in(self, target: str) -> frozenset[Permission]:
        """What the role table, the robot table and the public project give; nothing where there is no project."""
        own: frozenset[Permission] = ROLE_PERMISSIONS[self.role] if self.role else frozenset()
        if self.is_project_robot:
            own = PROJECT_PERMISSIONS | _ROBOT_ITSELF
        public = PUBLIC_ANONYMOUS if self.is_anonymous else PUBLIC_SIGNED_IN
        return {OWN: own, PUBLIC: public}.get(target, frozenset())


def make_tenant(name: str, *, api: Api, is_public: bool = False) -> Tenant:
    """A project with a member, a robot, a label, metadata, and a repository with a labelled, tagged image."""
    project = create_project(name=name, is_public=is_public, cause=BY_SYSTEM, values={"auto_scan": "true"})
    member = add_member(project=project, role=Role.GUEST, cause=BY_SYSTEM, user=_user(f"guest-of-{name}"))
    robot, _ = create_robot(name="ci", project=project, grants=[_pull(project)], cause=BY_SYSTEM)
    reference = push_image(project, "app")
    values = {
        "project_name_or_id": str(project.pk),
        "project_name": name,
        "project": name,
        "mid": str(member.pk),
        "robot_id": str(robot.pk),
        "meta_name": "auto_scan",
        "repository_name": "app",
        "repository": "app",
        "reference": reference,
        "tag_name": "v1",
        "addition": "build_history",
        "immutable_rule_id": _rule(api, project),
    }
    return Tenant(project, values | {"label_id": _label(api, project, reference)})


def absent_tenant() -> Tenant:
    """A project that is not there, with nothing in it."""
    numbers = dict.fromkeys(("project_name_or_id", "mid", "robot_id", "label_id", "immutable_rule_id"), str(NO_SUCH))
    words = dict.fromkeys(("project_name", "project", "repository_name", "repository", "tag_name"), "no-such")
    return Tenant(None, numbers | words | {"meta_name": "auto_scan", "reference": "v1", "addition": "build_history"})


def make_callers(own: Project) -> dict[str, Caller]:
    """One of each: nobody, a stranger, the five roles, an administrator, two robots."""
    members = [_member(role, own) for role in Role]
    stranger, sysadmin = _user("stranger"), _user("sysadmin", is_sysadmin=True)
    everything = [RobotGrant(_KIND.PROJECT, *permission, project_id=own.pk) for permission in PROJECT_PERMISSIONS]
    project_robot = create_robot(name="all", project=own, grants=everything, cause=BY_SYSTEM)
    system_robot = create_robot(name="reader", grants=[RobotGrant(_KIND.SYSTEM, *ROBOT_RIGHT)], cause=BY_SYSTEM)
    callers = [
        Caller("nobody", Api(Client(), {})),
        Caller("stranger", api_as("stranger", PASSWORD), stranger),
        *members,
        Caller("sysadmin", api_as("sysadmin", PASSWORD), sysadmin),
        Caller("project robot", _robot_api(*project_robot), is_project_robot=True),
        Caller("system robot", _robot_api(*system_robot), system_rights=frozenset({ROBOT_RIGHT})),
    ]
    return {caller.name: caller for caller in callers}


_KIND: Final = RobotPermission.Kind
CALLERS: Final = ("nobody", "stranger", *(role.label for role in Role), "sysadmin", "project robot", "system robot")


def _member(role: Role, own: Project) -> Caller:
    user = _user(role.label)
    add_member(project=own, role=role, cause=BY_SYSTEM, user=user)
    return Caller(role.label, api_as(user.username, PASSWORD), user, role)


def _user(name: str, *, is_sysadmin: bool = False) -> User:
    return create_user(
        username=name, password=PASSWORD, email=f"{name}@example.org", is_sysadmin=is_sysadmin, cause=BY_SYSTEM
    )


def _robot_api(robot: Robot, secret: str) -> Api:
    return api_as(full_name(robot), secret)


def _pull(project: Project) -> RobotGrant:
    return RobotGrant(_KIND.PROJECT, "repository", "pull", project_id=project.pk)


def push_image(project: Project, name: str) -> str:
    """An image without layers, under the tag v1; its digest."""
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:" + "0" * 64, "size": 2}
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}
    content = json.dumps(document | {"annotations": {"nonce": secrets.token_hex(8)}}).encode()
    sparse = ProjectRef(project.pk, project.name, project.is_public, True)
    repository = make_repository(sparse, RepositoryName(project.name, name))
    manifest = parse_manifest(content, content_type=OCI_MANIFEST)
    return str(put_manifest(repository=repository, manifest=manifest, tags=["v1"], cause=BY_SYSTEM).digest)


def _rule(api: Api, project: Project) -> str:
    """An immutability rule of the project, disabled, for what is asked to succeed; its id."""
    body = {
        "disabled": True,
        "tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": "v*"}],
        "scope_selectors": {"repository": [{"kind": "doublestar", "decoration": "repoMatches", "pattern": "**"}]},
    }
    made = api.post(f"/projects/{project.pk}/immutabletagrules", body)
    assert made.status_code == 201, made.content
    return str(made["Location"].rpartition("/")[2])


def _label(api: Api, project: Project, reference: str) -> str:
    """A label of the project, put on its image; its id."""
    made = api.post("/labels", {"name": f"label-of-{project.name}", "scope": "p", "project_id": project.pk})
    assert made.status_code == 201, made.content
    label_id = str(made["Location"].rpartition("/")[2])
    put = api.post(f"/projects/{project.name}/repositories/app/artifacts/{reference}/labels", {"id": int(label_id)})
    assert put.status_code == 200, put.content
    return label_id
