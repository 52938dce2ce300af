"""`/users/current`: the signed-in user and its permissions."""

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
from registry_core.api.permissions import SIGNED_IN, permissions_in
from registry_core.api.query import Exact, truth
from registry_core.distribution.rights import may_in_system
from registry_core.errors import InvalidInput, PreconditionFailed

TAG: Final = "user"
ITSELF: Final = "."
SYSTEM_SCOPE: Final = "/system"
_PROJECT_SCOPE: Final = re.compile(r"(/project/([0-9]{1,18}))(?:/([a-z-]+(?:/[a-z-]+)*))?")


class CurrentUserView(ApiView):
    """`/users/current`."""

    access = {"GET": SIGNED_IN}

    @operation("getCurrentUserInfo", TAG, answer=UserResp, errors=(401, 412))
    def get(self, _request: Request) -> Response:
        """Get the signed-in user; 412 for robots."""
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
            query("scope", "/project/ID, a resource in it (/project/1/repository), or /system."),
            query("relative", "true: names relative to the scope; the scope itself is a dot.", bool),
        ],
        answer=list[Permission],
        errors=(400, 401),
    )
    def get(self, request: Request) -> Response:
        """List the caller's permissions in a scope."""
        given = parameters_of(request)
        scope = given.get("scope", "").rstrip("/")
        is_relative = truth(Exact(given.get("relative") or "false"))
        place, inner, held = self._held(scope) if scope else ("", "", frozenset())
        if is_relative:
            return Response([_relative(*each, inner) for each in sorted(held) if _is_within(each[0], inner)])
        return Response([Permission(resource=f"{place}/{what}".rstrip("/"), action=do) for what, do in sorted(held)])

    def _held(self, scope: str) -> tuple[str, str, frozenset[tuple[str, str]]]:
        """The system or the project of a scope, the resource that the scope names in it, and the caller's permissions
        in it."""
        if scope == SYSTEM_SCOPE:
            return scope, "", frozenset(held for held in SYSTEM_PERMISSIONS if may_in_system(self.subject, *held))
        named = _PROJECT_SCOPE.fullmatch(scope)
        if named is None:
            raise InvalidInput("scope is /project/ and the id of a project, or /system")
        project = find_project(named[2])
        return named[1], named[3] or "", permissions_in(self.subject, project) if project else frozenset()


def _is_within(resource: str, inner: str) -> bool:
    return not inner or resource == inner or resource.startswith(f"{inner}/")


def _relative(resource: str, action: str, inner: str) -> Permission:
    return Permission(resource=resource.removeprefix(inner).lstrip("/") or ITSELF, action=action)
