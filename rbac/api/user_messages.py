"""Request and response messages of users."""

from __future__ import annotations

from rbac.models import User
from registry_core.api.messages import Answer, Body, ShortText, Text, Time, api_time


class OIDCUserInfo(Answer):
    """The link between a user and an identity provider; absent for users with a password in this registry."""

    id: int = 0
    user_id: int = 0
    subiss: str = ""
    secret: str = ""
    creation_time: Time | None = None
    update_time: Time | None = None


class UserResp(Answer, kw_only=True):
    """A user."""

    user_id: int
    username: str
    email: str = ""
    realname: str = ""
    comment: str = ""
    sysadmin_flag: bool
    admin_role_in_auth: bool
    oidc_user_meta: OIDCUserInfo | None = None
    creation_time: Time
    update_time: Time


class UserSearchRespItem(Answer):
    """The part of a user that every signed-in user can find."""

    user_id: int
    username: str


class UserCreationReq(Body, kw_only=True):
    """A user to create. Permissions are not part of this."""

    username: ShortText = ""
    password: Text = ""
    email: ShortText = ""
    realname: ShortText = ""
    comment: ShortText = ""


class UserProfile(Body):
    """A user's profile, as a whole: fields that are left out become empty."""

    email: ShortText = ""
    realname: ShortText = ""
    comment: ShortText = ""


class UserSysAdminFlag(Body):
    """Whether a user is system administrator."""

    sysadmin_flag: bool = False


class PasswordReq(Body, kw_only=True):
    """A new password, and the old one if it is the caller's own."""

    new_password: Text = ""
    old_password: Text = ""


class OIDCCliSecretReq(Body):
    """A new CLI secret. `password`: the account's own, unless the request itself is authenticated with it."""

    secret: Text = ""
    password: Text = ""


class Permission(Answer):
    """A permission."""

    resource: str
    action: str


def user_answer(user: User) -> UserResp:
    """The message for a user."""
    return UserResp(
        user_id=user.pk,
        username=user.username,
        email=user.email,
        realname=user.realname,
        comment=user.comment,
        sysadmin_flag=user.is_sysadmin,
        admin_role_in_auth=False,
        creation_time=api_time(user.created_at),
        update_time=api_time(user.updated_at),
    )
