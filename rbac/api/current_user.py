"""`/users/current`: who asks, and what he may do."""

from __future__ import annotations

import re
from typing import Final

from rest_framework.request import Request
from rest_framework.response import Response

from rbac.api.user_messages import Permission, UserResp, user_answer
from rbac.robot_permissions import SYSTEM_PERMISSIONS
from rbac.services.permissions import living_user
from registry_core.access import SubjectKind
from registry_core.api.base import ApiView, find_project
from registry_core.api.messages import parameters_of
from registry_core.api.openapi import operation, query
from registry_core.api.permissions import SIGNED_IN, may_in_system, permissions_in
from registry_core.api.query import Exact, truth
from registry_core.errors import InvalidInput, PreconditionFailed

TAG: Final = "user"
ITSELF: Final = "."
SYSTEM_SCOPE: Final = "/system"
_PROJECT_SCOPE: Final = re.compile(r"/project/([0-9]{1,18})")


class CurrentUserView(ApiView):
    """`/users/current`."""

    access = {"GET": SIGNED_IN}

    @operation("getCurrentUserInfo", TAG, answer=UserResp, errors=(401, 412))
    def get(self, _request: Request) -> Response:
        """Look at oneself; a robot is no user."""
        user = living_user(self.subject.id) if self.subject.kind is SubjectKind.USER else None
        if user is None:
            raise PreconditionFailed("this is a robot account, not a user")
        return Response(user_answer(user))


class CurrentPermissionsView(ApiView):
    """`/users/current/permissions`."""

    access = {"GET": SIGNED_IN}

    @operation(
        "getCurrentUserPermissions",
        TAG,
        parameters=[
            query("scope", "Where: /project/ and its id, or /system."),
            query("relative", "Name the resources without the scope; the project itself is then a dot.", bool),
        ],
        answer=list[Permission],
        errors=(400, 401),
    )
    def get(self, request: Request) -> Response:
        """List what the caller may do in a scope."""
        given = parameters_of(request)
        scope = given.get("scope", "").rstrip("/")
        is_relative = truth(Exact(given.get("relative") or "false"))
        return Response([_shown(*held, "" if is_relative else scope) for held in sorted(self._held(scope))])

    def _held(self, scope: str) -> set[tuple[str, str]]:
        if not scope:
            return set()
        if scope == SYSTEM_SCOPE:
            return {held for held in SYSTEM_PERMISSIONS if may_in_system(self.subject, *held)}
        named = _PROJECT_SCOPE.fullmatch(scope)
        if named is None:
            raise InvalidInput("scope is /project/ and the id of a project, or /system")
        project = find_project(named[1])
        return set(permissions_in(self.subject, project)) if project else set()


def _shown(resource: str, action: str, scope: str) -> Permission:
    if not scope:
        return Permission(resource=resource or ITSELF, action=action)
    return Permission(resource=f"{scope}/{resource}".rstrip("/"), action=action)
