"""Users as the API takes and shows them."""

from __future__ import annotations

from rbac.models import User
from registry_core.api.messages import Answer, Body, ShortText, Text, Time, api_time


class OIDCUserInfo(Answer):
    """What ties a user to an identity provider; of a user with a password here there is none."""

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
    """What anybody who signed in may find of a user."""

    user_id: int
    username: str


class UserCreationReq(Body, kw_only=True):
    """A user to create. What he may do is not said here."""

    username: ShortText = ""
    password: Text = ""
    email: ShortText = ""
    realname: ShortText = ""
    comment: ShortText = ""


class UserProfile(Body):
    """What a user tells about himself, all of it: what is left out becomes empty."""

    email: ShortText = ""
    realname: ShortText = ""
    comment: ShortText = ""


class UserSysAdminFlag(Body):
    """Whether a user administrates the system."""

    sysadmin_flag: bool = False


class PasswordReq(Body, kw_only=True):
    """A new password, and the old one where it is one's own."""

    new_password: Text = ""
    old_password: Text = ""


class OIDCCliSecretReq(Body):
    """A new secret for command-line clients. `password`: the account's, unless the request is signed with it."""

    secret: Text = ""
    password: Text = ""


class Permission(Answer):
    """Something that may be done."""

    resource: str
    action: str


def user_answer(user: User) -> UserResp:
    """The user as the API shows him."""
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
