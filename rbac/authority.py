"""The authority of the registry (`registry_core.access.Authority`), implemented with users, roles and robots."""

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
    """Stateless: each answer is read from Postgres. Callers that cache an answer must check the generations."""

    def authenticate(self, *, username: str, secret: str, client: str) -> Subject:
        """The subject with these credentials. Raises Unauthenticated or TooManyAttempts."""
        return authentication.authenticate(username=username, secret=secret, client=client)

    def subject(self, *, kind: SubjectKind, id: int) -> Subject | None:
        """The current state of the subject; None if it is deleted, disabled or expired."""
        if kind is SubjectKind.USER:
            user = permissions.living_user(id)
            return user.subject if user else None
        if kind is SubjectKind.ROBOT:
            robot = permissions.living_robot(id)
            return robot_subject(robot) if robot else None
        return SYSTEM if kind is SubjectKind.SYSTEM else ANONYMOUS

    def expires_at(self, subject: Subject) -> datetime | None:
        """When the subject expires without any change in the database. None: never."""
        if subject.kind is not SubjectKind.ROBOT:
            return None
        return Robot.objects.filter(pk=subject.id).values_list("expires_at", flat=True).first()

    def credential_version(self, subject: Subject) -> int:
        """Grows whenever the subject's tokens must become invalid; 0 for subjects without credentials, -1 for deleted
        ones."""
        if subject.kind is SubjectKind.USER:
            versions = User.objects.filter(pk=subject.id, is_active=True, deleted_at=None)
            return versions.values_list("credential_version", flat=True).first() or -1
        if subject.kind is SubjectKind.ROBOT:
            robots = Robot.objects.filter(pk__in=permissions.living_robots().filter(pk=subject.id).values("pk"))
            return robots.values_list("credential_version", flat=True).first() or -1
        return 0

    def actions_by_project(self, *, subject: Subject, project_ids: Collection[int]) -> dict[int, frozenset[str]]:
        """The actions (pull, push, delete) that the subject may now perform on repositories of each project, with a
        number of statements that does not depend on the number of projects."""
        if subject.kind is SubjectKind.SYSTEM:
            return dict.fromkeys(project_ids, ALL_ACTIONS)
        held = permissions.permissions_by_project(subject=subject, project_ids=project_ids)
        return {project_id: _actions(permissions) for project_id, permissions in held.items()}

    def project_permissions(self, *, subject: Subject, project_id: int) -> frozenset[tuple[str, str]]:
        """All permissions (resource, action) of the subject in a project now; the resource "" is the project."""
        return permissions.project_permissions(subject=subject, project_id=project_id)

    def has_system_permission(self, *, subject: Subject, resource: str, action: str) -> bool:
        """Whether the subject may do `action` on a `resource` of the system."""
        return permissions.has_system_permission(subject=subject, resource=resource, action=action)

    def is_sysadmin(self, subject: Subject) -> bool:
        """Whether the subject is system administrator."""
        return permissions.is_sysadmin(subject)

    def pullable_projects(self, subject: Subject) -> list[int] | None:
        """Ids of the projects that the subject may pull from; None means all of them."""
        return permissions.pullable_projects(subject)

    def may_list_catalog(self, subject: Subject) -> bool:
        """Whether the subject may list the catalog: administrators, and robots with the permission."""
        return permissions.has_system_permission(subject=subject, resource="catalog", action="read")

    def issue_refresh_token(self, *, device: str, cause: Cause) -> str:
        """A new refresh token for the subject of `cause`, which has just authenticated."""
        return refresh_tokens.issue(authority=self, device=device, cause=cause)

    def redeem_refresh_token(self, *, token: str, client: str) -> Subject:
        """The subject of a valid refresh token, presented from the address `client`. Raises Unauthenticated."""
        return refresh_tokens.redeem(authority=self, token=token, client=client)


_NEEDED: Final[dict[str, set[Permission]]] = {
    PULL: {("repository", "pull")},
    PUSH: {("repository", "push")},
    DELETE: {("repository", "delete"), ("artifact", "delete")},
}


def _actions(held: frozenset[Permission]) -> frozenset[str]:
    return NO_ACTIONS | {action for action, one_of in _NEEDED.items() if held & one_of}
