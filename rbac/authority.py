"""The authority that the registry asks (`registry_core.access.Authority`): answers from users, roles and robots."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

from rbac.models import Robot, User
from rbac.roles import Permission
from rbac.services import authentication, permissions, refresh_tokens
from rbac.services.robots import robot_subject
from registry_core.access import (
    ALL_ACTIONS,
    ANONYMOUS,
    DELETE,
    NO_ACTIONS,
    PULL,
    PUSH,
    SYSTEM,
    Cause,
    Subject,
    SubjectKind,
)


class RbacAuthority:
    """Stateless: each answer is read from Postgres; whoever remembers it watches the generations."""

    def authenticate(self, *, username: str, secret: str, client: str) -> Subject:
        """The subject with these credentials. Raises Unauthenticated or TooManyAttempts."""
        return authentication.authenticate(username=username, secret=secret, client=client)

    def subject(self, *, kind: SubjectKind, id: int) -> Subject | None:
        """The subject as it is now; None when it is gone, disabled or expired."""
        if kind is SubjectKind.USER:
            user = permissions.living_user(id)
            return user.subject if user else None
        if kind is SubjectKind.ROBOT:
            robot = permissions.living_robot(id)
            return robot_subject(robot) if robot else None
        return SYSTEM if kind is SubjectKind.SYSTEM else ANONYMOUS

    def expires_at(self, subject: Subject) -> datetime | None:
        """When the subject may act no longer though nobody changes anything. None: never."""
        if subject.kind is not SubjectKind.ROBOT:
            return None
        return Robot.objects.filter(pk=subject.id).values_list("expires_at", flat=True).first()

    def credential_version(self, subject: Subject) -> int:
        """Grows whenever the subject's tokens must die; 0 for those without credentials, -1 for one that is gone."""
        if subject.kind is SubjectKind.USER:
            versions = User.objects.filter(pk=subject.id, is_active=True, deleted_at=None)
            return versions.values_list("credential_version", flat=True).first() or -1
        if subject.kind is SubjectKind.ROBOT:
            robots = Robot.objects.filter(pk__in=permissions.living_robots().filter(pk=subject.id).values("pk"))
            return robots.values_list("credential_version", flat=True).first() or -1
        return 0

    def actions_by_project(self, *, subject: Subject, project_ids: Collection[int]) -> dict[int, frozenset[str]]:
        """The actions (pull, push, delete) that the subject has now on the repositories of each of the projects, in as
        many statements as for one."""
        if subject.kind is SubjectKind.SYSTEM:
            return dict.fromkeys(project_ids, ALL_ACTIONS)
        held = permissions.permissions_by_project(subject=subject, project_ids=project_ids)
        return {project_id: _actions(permissions) for project_id, permissions in held.items()}

    def project_permissions(self, *, subject: Subject, project_id: int) -> frozenset[tuple[str, str]]:
        """Everything (resource, action) that the subject may do in a project now; the resource "" is the project."""
        return permissions.project_permissions(subject=subject, project_id=project_id)

    def has_system_permission(self, *, subject: Subject, resource: str, action: str) -> bool:
        """Whether the subject may do `action` on a `resource` of the system."""
        return permissions.has_system_permission(subject=subject, resource=resource, action=action)

    def is_sysadmin(self, subject: Subject) -> bool:
        """Whether the subject may do all."""
        return permissions.is_sysadmin(subject)

    def pullable_projects(self, subject: Subject) -> list[int] | None:
        """Ids of the projects that the subject may pull from; None means all of them."""
        return permissions.pullable_projects(subject)

    def may_list_catalog(self, subject: Subject) -> bool:
        """Whether the subject may ask for the catalog: administrators, and robots with the permission."""
        return permissions.has_system_permission(subject=subject, resource="catalog", action="read")

    def issue_refresh_token(self, *, device: str, cause: Cause) -> str:
        """A new refresh token for the subject of `cause`, which has just authenticated."""
        return refresh_tokens.issue(authority=self, device=device, cause=cause)

    def redeem_refresh_token(self, *, token: str, client: str) -> Subject:
        """The subject of a living refresh token, presented at the address `client`. Raises Unauthenticated."""
        return refresh_tokens.redeem(authority=self, token=token, client=client)


_NEEDED: Final[dict[str, set[Permission]]] = {
    PULL: {("repository", "pull")},
    PUSH: {("repository", "push")},
    DELETE: {("repository", "delete"), ("artifact", "delete")},
}


def _actions(held: frozenset[Permission]) -> frozenset[str]:
    return NO_ACTIONS | {action for action, one_of in _NEEDED.items() if held & one_of}
