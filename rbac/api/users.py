"""`/users`: list, create, find, get, change and delete them."""

from __future__ import annotations

from typing import Final

import msgspec
from django.contrib.auth import HASH_SESSION_KEY
from django.db.models import Q
from rest_framework.request import Request
from rest_framework.response import Response

from rbac.api.user_messages import (
    OIDCCliSecretReq,
    PasswordReq,
    UserCreationReq,
    UserProfile,
    UserResp,
    UserSearchRespItem,
    UserSysAdminFlag,
    user_answer,
)
from rbac.events import UserRead
from rbac.models import User
from rbac.services import users
from rbac.services.authentication import is_password
from rbac.services.failures import report_failure
from rbac.services.permissions import living_user
from registry_core.access import SubjectKind
from registry_core.api.authentication import IN_SESSION
from registry_core.api.base import ApiView, created, done
from registry_core.api.messages import parameters_of, parse_body
from registry_core.api.openapi import CURSOR, PAGE, PAGE_SIZE, PAGED, operation, query
from registry_core.api.paging import ListRules, listed
from registry_core.api.permissions import ANYONE, SIGNED_IN, SYSADMIN, Computed, Rule, in_system
from registry_core.api.query import Fuzzy, number_key, parse_q, text_key, time_key, truth_key
from registry_core.distribution.rights import may_in_system
from registry_core.distribution.token import basic_credentials
from registry_core.errors import InvalidInput, NotAllowed, NotFound
from registry_core.settings_store.values import current

TAG: Final = "user"
RULES: Final = ListRules(
    keys={
        "user_id": number_key("pk"),
        "username": text_key("username"),
        "email": text_key("email"),
        "realname": text_key("realname"),
        "comment": text_key("comment"),
        "sysadmin_flag": truth_key("is_sysadmin"),
        "creation_time": time_key("created_at"),
        "update_time": time_key("updated_at"),
    },
    sorts={
        "user_id": "pk",
        "username": "username",
        "email": "email",
        "realname": "realname",
        "sysadmin_flag": "is_sysadmin",
        "creation_time": "created_at",
        "update_time": "updated_at",
    },
    order=("username",),
)
WRONG: Final = "the old password is wrong"
NOT_PROVEN: Final = (
    "this needs your account's own password, in the body or in the Authorization header; "
    "the CLI secret is not sufficient"
)
SEARCH_RULES: Final = ListRules(order=("username",))
LIVING: Final = User.objects.filter(deleted_at=None)
BUILT_IN: Final = Q(username=users.FIRST_ADMIN)


MAY_SIGN_UP: Final = Computed(
    lambda _: ANYONE if users.allows_sign_up() else in_system("user", "create"), is_for_anybody=True
)


class UsersView(ApiView):
    """`/users`."""

    access = {"GET": in_system("user", "list"), "POST": MAY_SIGN_UP}

    def recorded_read(self) -> UserRead:
        """Reading the data of all users."""
        return UserRead(name="the list of users")

    @operation("listUsers", TAG, parameters=PAGED, answer=list[UserResp], errors=(400, 401, 403))
    def get(self, request: Request) -> Response:
        """List the users. The administrator of the first start is included only if `q` asks for a `user_id`."""
        rows = LIVING.all() if "userid" in parse_q(request.query_params.get("q", "")) else LIVING.exclude(BUILT_IN)
        return listed(request, rows, RULES, lambda found: [user_answer(user) for user in found])

    @operation("createUser", TAG, body=UserCreationReq, status=201, errors=(400, 401, 403, 409))
    def post(self, request: Request) -> Response:
        """Create a user; if self-registration is allowed, anybody may create an account for themselves."""
        if current().text("auth_mode") != "db_auth":
            raise NotAllowed("users come from the identity provider of auth_mode and cannot be created here")
        return created(f"{request.path}/{self._made(parse_body(request, UserCreationReq)).pk}")

    def _made(self, asked: UserCreationReq) -> User:
        if not may_in_system(self.subject, "user", "create"):
            return users.sign_up(**msgspec.structs.asdict(asked), cause=self.cause)
        return users.create_user(**msgspec.structs.asdict(asked), cause=self.cause)


class UserSearchView(ApiView):
    """`/users/search`."""

    access = {"GET": SIGNED_IN}

    @operation(
        "searchUsers",
        TAG,
        parameters=[query("username", "A part of the name.", required=True), PAGE, PAGE_SIZE, CURSOR],
        answer=list[UserSearchRespItem],
        errors=(400, 401),
    )
    def get(self, request: Request) -> Response:
        """Find users by a part of their name, for adding them as members: ids and names."""
        part = parameters_of(request).get("username", "")
        if not part:
            raise InvalidInput("username is missing: give a part of the name, ?username=")
        rows = LIVING.filter(text_key("username")(Fuzzy(part)))
        return listed(request, rows, SEARCH_RULES, lambda found: [_found(user) for user in found])


def _found(user: User) -> UserSearchRespItem:
    return UserSearchRespItem(user_id=user.pk, username=user.username)


OWN_OR_SYSADMIN: Final = Computed(lambda view: SIGNED_IN if view.is_own else SYSADMIN)
"""For the views of one user: the user itself, and administrators."""


class OneUserView(ApiView):
    """Base of the views of one user, for the user itself and for subjects with the right to do this to all users."""

    access = {
        "GET": Computed(lambda view: view.rule("read")),
        "PUT": Computed(lambda view: view.rule("update")),
        "DELETE": in_system("user", "delete"),
    }

    def recorded_read(self) -> UserRead | None:
        """Reading another user's data."""
        return None if self.is_own else UserRead(name=self.user.username)

    @property
    def is_own(self) -> bool:
        """Whether the user of the URL is the caller."""
        return (self.subject.kind, self.subject.id) == (SubjectKind.USER, self.kwargs["user_id"])

    def rule(self, action: str) -> Rule:
        """The caller itself, or the permission to do `action` to all users."""
        return SIGNED_IN if self.is_own else in_system("user", action)

    @property
    def user(self) -> User:
        """The living user of the URL. Raises NotFound."""
        found = LIVING.filter(pk=self.kwargs["user_id"]).first()
        if found is None:
            raise NotFound(f"there is no user {self.kwargs['user_id']}")
        return found

    def demand_password(self, user: User, given: str, *, is_demanded: bool = False) -> None:
        """Raises NotAllowed unless the caller has proved knowledge of its own account's password, which changing
        secrets requires.

        The password is in `given`, or the request is authenticated with it. To change another account's secrets, a
        session is sufficient as well, since it began with the password. The CLI secret is never sufficient.
        `is_demanded`: for the caller's own account only `given` counts.
        """
        presented = basic_credentials(self.request.META.get("HTTP_AUTHORIZATION", ""))
        if self.is_own and (given or is_demanded):
            is_known = self._is_password(user, given, is_guess=True)
        elif presented is not None:
            is_known = self._is_password(living_user(self.subject.id), presented.secret, is_guess=False)
        else:
            is_known = not self.is_own
        if not is_known:
            raise NotAllowed(WRONG if given else NOT_PROVEN)

    def _is_password(self, user: User | None, password: str, *, is_guess: bool) -> bool:
        if user is None:
            return False
        is_right = is_password(user=user, password=password, client=self.client, is_guess=is_guess)
        if not is_right and is_guess:
            report_failure(username=user.username, client=self.client)
        return is_right

    def keep_session(self, user: User) -> None:
        """Keep the current session alive after the user changed its own secrets; the user's other sessions end."""
        if self.is_own and IN_SESSION in self.request.META:
            session = self.request._request.session
            session.cycle_key()
            session[HASH_SESSION_KEY] = user.get_session_auth_hash()


class UserView(OneUserView):
    """`/users/{user_id}`."""

    @operation("getUser", TAG, answer=UserResp)
    def get(self, _request: Request, user_id: int) -> Response:
        """Get a user."""
        return Response(user_answer(self.user))

    @operation("updateUserProfile", TAG, body=UserProfile, errors=(400, 401, 403, 404, 409))
    def put(self, request: Request, user_id: int) -> Response:
        """Set e-mail address, real name and comment; fields that are left out become empty."""
        user, asked = self.user, parse_body(request, UserProfile)
        users.update_profile(user=user, **msgspec.structs.asdict(asked), cause=self.cause)
        return done()

    @operation("deleteUser", TAG)
    def delete(self, _request: Request, user_id: int) -> Response:
        """Delete a user. The caller cannot delete itself."""
        users.delete_user(user=self.user, cause=self.cause)
        return done()


class SysadminView(OneUserView):
    """`/users/{user_id}/sysadmin`."""

    access = {"PUT": SYSADMIN}

    @operation("setUserSysAdmin", TAG, body=UserSysAdminFlag)
    def put(self, request: Request, user_id: int) -> Response:
        """Grant or revoke the system administrator role. One administrator always remains."""
        asked = parse_body(request, UserSysAdminFlag)
        users.set_sysadmin(user=self.user, is_sysadmin=asked.sysadmin_flag, cause=self.cause)
        return done()


class PasswordView(OneUserView):
    """`/users/{user_id}/password`."""

    access = {"PUT": OWN_OR_SYSADMIN}

    @operation("updateUserPassword", TAG, body=PasswordReq)
    def put(self, request: Request, user_id: int) -> Response:
        """Set a password: the caller's own with the old one, or anybody's as an administrator. All tokens and sessions
        of the user and its CLI secret become invalid."""
        user, asked = self.user, parse_body(request, PasswordReq)
        if not asked.new_password:
            raise InvalidInput("say the new password")
        self.demand_password(user, asked.old_password, is_demanded=True)
        if self.is_own and asked.old_password == asked.new_password:
            raise InvalidInput("the new password is the same as the old one: choose another")
        users.set_password(user=user, password=asked.new_password, cause=self.cause)
        self.keep_session(user)
        return done()


class CliSecretView(OneUserView):
    """`/users/{user_id}/cli_secret`."""

    access = {"PUT": OWN_OR_SYSADMIN, "DELETE": OWN_OR_SYSADMIN}

    @operation("setCliSecret", TAG, body=OIDCCliSecretReq, errors=(400, 401, 403, 404, 412))
    def put(self, request: Request, user_id: int) -> Response:
        """Set a user's CLI secret, which command-line clients can use instead of the password.

        The caller needs its own password: in the body, or in the request's Authorization header.
        """
        user, asked = self.user, parse_body(request, OIDCCliSecretReq)
        if not asked.secret:
            raise InvalidInput("say the new secret")
        self.demand_password(user, asked.password)
        users.set_cli_secret(user=user, secret=asked.secret, cause=self.cause)
        self.keep_session(user)
        return done()

    @operation("deleteCliSecret", TAG)
    def delete(self, _request: Request, user_id: int) -> Response:
        """Delete a user's CLI secret. All tokens and sessions of the user become invalid."""
        user = self.user
        users.delete_cli_secret(user=user, cause=self.cause)
        self.keep_session(user)
        return done()


class SessionsView(OneUserView):
    """`/users/{user_id}/sessions`."""

    access = {"DELETE": OWN_OR_SYSADMIN}

    @operation("deleteUserSessions", TAG)
    def delete(self, _request: Request, user_id: int) -> Response:
        """End every session, bearer token and refresh token of a user, at once."""
        users.revoke_sessions(user=self.user, cause=self.cause)
        return done()
