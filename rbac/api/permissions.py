"""`/permissions`: the permissions that robots can have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from rbac.api.user_messages import Permission
from rbac.models import Role
from rbac.robot_permissions import PROJECT_PERMISSIONS, SYSTEM_PERMISSIONS
from rbac.services.permissions import memberships
from registry_core.access import Subject, SubjectKind
from registry_core.api.base import ApiView
from registry_core.api.messages import Answer
from registry_core.api.openapi import operation
from registry_core.api.permissions import SIGNED_IN
from registry_core.distribution.rights import is_sysadmin

TAG: Final = "permissions"


class Permissions(Answer):
    """The permissions that a robot can have in the system, and in projects."""

    system: list[Permission]
    project: list[Permission]


class PermissionsView(ApiView):
    """`/permissions`."""

    access = {"GET": SIGNED_IN}

    @operation("getPermissions", TAG, answer=Permissions, errors=(401, 403))
    def get(self, _request: Request) -> Response:
        """List all of them to administrators, and those for projects to administrators of projects."""
        if is_sysadmin(self.subject):
            return Response(Permissions(system=_shown(SYSTEM_PERMISSIONS), project=_shown(PROJECT_PERMISSIONS)))
        if _is_project_admin(self.subject):
            return Response(Permissions(system=[], project=_shown(PROJECT_PERMISSIONS)))
        raise PermissionDenied("only administrators of the system or of a project can create robots")


def _is_project_admin(subject: Subject) -> bool:
    if subject.kind is not SubjectKind.USER:
        return False
    return memberships(subject.id).filter(role=Role.PROJECT_ADMIN, project__deleted_at=None).exists()


def _shown(permissions: Iterable[tuple[str, str]]) -> list[Permission]:
    return [Permission(resource=resource, action=action) for resource, action in sorted(permissions)]
