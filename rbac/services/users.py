"""People: create, change, disable and delete them. Each function is one transaction."""

from __future__ import annotations

import re
from typing import Final

from django.db import IntegrityError
from django.db.models import F
from django.db.models.functions import Now

from rbac.models import CliSecret, User
from rbac.services.changes import rights_change, user_key
from rbac.services.passwords import hash_chosen
from rbac.services.secret_hashes import generate_secret, hash_generated
from registry_core.access import SYSTEM, Subject
from registry_core.config import get_config
from registry_core.errors import AlreadyExists, InvalidInput

FIRST_ADMIN: Final = "admin"
_FORBIDDEN: Final = re.compile(r"[\s,\"~#%$:/\\\x00-\x1f\x7f]")


def check_username(username: str) -> None:
    """Raises InvalidInput unless `username` can be told apart in logs, URLs and Basic credentials."""
    if not is_possible_username(username):
        raise InvalidInput(
            'a user name has 1 to 255 characters and none of the characters , " ~ # % $ : / \\ or blanks'
        )


def is_possible_username(username: str) -> bool:
    """Whether a user may have this name."""
    return 1 <= len(username) <= 255 and _FORBIDDEN.search(username) is None


def why_auth_mode_is_fixed() -> str:
    """What stands in the way of another `auth_mode`: users who could not sign in any more. Empty: nothing."""
    others = User.objects.filter(deleted_at=None).exclude(username=FIRST_ADMIN)
    return "there are users besides admin: delete them first" if others.exists() else ""


def create_user(
    *,
    username: str,
    password: str,
    email: str = "",
    realname: str = "",
    comment: str = "",
    is_sysadmin: bool = False,
    by: Subject = SYSTEM,
) -> User:
    """Create a user. Raises InvalidInput, or AlreadyExists when name or e-mail address is taken in any case."""
    check_username(username)
    user = User(username=username, email=email, realname=realname, comment=comment, is_sysadmin=is_sysadmin)
    user.password = hash_chosen(password)
    try:
        with rights_change(kind="user.created", by=by, payload={"username": username}):
            user.save(force_insert=True)
    except IntegrityError:
        raise AlreadyExists("a user with this name or e-mail address exists already: choose another") from None
    return user


def set_password(*, user: User, password: str, by: Subject | None = None) -> None:
    """Change the password; every token of the user dies. Raises InvalidInput when it is too weak."""
    encoded = hash_chosen(password)
    with rights_change(user_key(user.pk), kind="user.password_changed", by=by or user.subject):
        User.objects.filter(pk=user.pk).update(password=encoded, **_new_credentials())
    user.refresh_from_db()
    if user.username == FIRST_ADMIN:
        (get_config().secrets_dir / "admin.password").unlink(missing_ok=True)


def set_sysadmin(*, user: User, is_sysadmin: bool, by: Subject) -> None:
    """Make a user system administrator, or no longer."""
    _change(user, by, "user.updated", is_sysadmin=is_sysadmin)


def set_active(*, user: User, is_active: bool, by: Subject) -> None:
    """Let a user sign in, or no longer; tokens die with it."""
    _change(user, by, "user.updated", is_active=is_active, **({} if is_active else _new_credentials()))


def revoke_sessions(*, user: User, by: Subject) -> None:
    """Kill every bearer and refresh token of a user, at once."""
    _change(user, by, "user.sessions_revoked", **_new_credentials())


def delete_user(*, user: User, by: Subject) -> None:
    """Delete a user: the row stays for history, the name is free again, memberships and secrets go."""
    with rights_change(user_key(user.pk), kind="user.deleted", by=by, payload={"username": user.username}):
        user.memberships.all().delete()
        user.group_links.all().delete()
        CliSecret.objects.filter(user=user).delete()
        gone_name = f"{user.username[:240]}#{user.pk}"
        User.objects.filter(pk=user.pk).update(
            username=gone_name, is_active=False, deleted_at=Now(), **_new_credentials()
        )
    user.refresh_from_db()


def set_cli_secret(*, user: User, secret: str = "", by: Subject) -> str:
    """Give a user a new secret for command-line clients and return it: `secret`, or a generated one when empty.

    Raises InvalidInput when the given one is too weak.
    """
    shown = secret or generate_secret()
    stored = hash_chosen(secret) if secret else hash_generated(shown)
    with rights_change(user_key(user.pk), kind="user.cli_secret_changed", by=by):
        CliSecret.objects.update_or_create(user=user, defaults={"hash": stored, "is_chosen_secret": bool(secret)})
        User.objects.filter(pk=user.pk).update(**_new_credentials())
    user.refresh_from_db()
    return shown


def _change(user: User, by: Subject, kind: str, **values: object) -> None:
    with rights_change(user_key(user.pk), kind=kind, by=by, payload={"username": user.username}):
        User.objects.filter(pk=user.pk).update(**{"updated_at": Now(), **values})
    user.refresh_from_db()


def _new_credentials() -> dict[str, object]:
    """Column values that make every token minted so far worthless."""
    return {"credential_version": F("credential_version") + 1, "updated_at": Now()}
