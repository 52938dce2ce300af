"""People: create, change, disable and delete them. Each function is one transaction.

One administrator always remains: every operation that may remove one locks the rows of all administrators.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from django.db import IntegrityError
from django.db.models import Case, F, When
from django.db.models.functions import Now

from rbac.events import (
    UserCliSecretChanged,
    UserCliSecretDeleted,
    UserCreated,
    UserDeleted,
    UserEvent,
    UserPasswordChanged,
    UserSessionsRevoked,
    UserUpdated,
)
from rbac.models import CliSecret, User
from rbac.services.changes import rights_change, user_key
from rbac.services.granting import require_sysadmin
from rbac.services.passwords import hash_chosen
from rbac.services.secret_hashes import generate_secret, hash_generated
from rbac.services.throttle import Throttle
from registry_core.access import ANONYMOUS, Cause, SubjectKind
from registry_core.config import get_config
from registry_core.errors import AlreadyExists, InvalidInput, NotAllowed, NotFound
from registry_core.http.callers import network_of
from registry_core.names.readable import check_name
from registry_core.settings_store.values import current

FIRST_ADMIN: Final = "admin"
TEXT_MAX: Final = 255
_TAKEN_APART_MAX: Final = 4  # the most characters that one decomposes into (UAX 15, section 10)
_FORBIDDEN: Final = re.compile(r"[\s,\"~#%$:/\\\x00-\x1f\x7f]")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_EMAIL: Final = re.compile(r"[^\s@<>()\[\],;:\\\"\x00-\x1f\x7f]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_sign_ups = Throttle()


def first_administrator_id() -> int | None:
    """The id of the administrator of the first start, or of the oldest administrator if that one is deleted; None:
    there is none."""
    living = User.objects.filter(is_sysadmin=True, is_active=True, deleted_at=None)
    is_later = Case(When(username=FIRST_ADMIN, then=0), default=1)
    return living.order_by(is_later, "pk").values_list("pk", flat=True).first()


def check_username(username: str) -> None:
    """Raises InvalidInput unless `username` is unambiguous in logs, URLs and Basic credentials."""
    if not is_possible_username(username):
        raise InvalidInput(
            'a user name has 1 to 255 characters and none of the characters , " ~ # % $ : / \\ or blanks'
        )
    check_name(username, what="a user name")


def is_possible_username(username: str) -> bool:
    """Whether a user may have this name."""
    return 1 <= len(username) <= TEXT_MAX and _FORBIDDEN.search(username) is None


def put_together(username: str) -> str:
    """A name as it is stored: in composed form (NFC), since some keyboards send decomposed letters.

    Text that is longer than any name is returned as it is: normalising combining marks takes quadratic time.
    """
    is_too_long = len(username) > TEXT_MAX * _TAKEN_APART_MAX
    return username if is_too_long else unicodedata.normalize("NFC", username)


def why_auth_mode_is_fixed() -> str:
    """The reason why `auth_mode` cannot be changed: users that could not sign in any more. Empty: it can."""
    others = User.objects.filter(deleted_at=None).exclude(username=FIRST_ADMIN)
    return "there are users besides admin: delete them first" if others.exists() else ""


def check_profile(*, email: str, realname: str, comment: str) -> None:
    """Raises InvalidInput unless each text fits on one line and `email`, if given, has the form of an address."""
    for name, text in (("email", email), ("realname", realname), ("comment", comment)):
        if len(text) > TEXT_MAX or _CONTROL.search(text):
            raise InvalidInput(f"{name} has at most {TEXT_MAX} characters, all of them on one line")
    if email and _EMAIL.fullmatch(email) is None:
        raise InvalidInput("this is not an e-mail address: use the form name@example.org")


def create_user(
    *,
    username: str,
    password: str,
    email: str = "",
    realname: str = "",
    comment: str = "",
    is_sysadmin: bool = False,
    cause: Cause,
    lane: str = "",
) -> User:
    """Create a user. Raises InvalidInput, AlreadyExists if name or e-mail address is taken, ignoring case, or
    NotAllowed if a subject that is not administrator would create one. `lane`: where the hashing waits for its turn;
    default: the lane of the acting subject."""
    if is_sysadmin:
        require_sysadmin(cause.subject)
    username = put_together(username)
    check_username(username)
    check_profile(email=email, realname=realname, comment=comment)
    user = User(username=username, email=email, realname=realname, comment=comment, is_sysadmin=is_sysadmin)
    user.password = hash_chosen(password, lane=lane or cause.subject.key)
    try:
        with rights_change(lambda: UserCreated(user_id=user.pk, username=username), cause=cause):
            user.save(force_insert=True)
    except IntegrityError:
        raise AlreadyExists("a user with this name or e-mail address already exists: choose another") from None
    return user


def set_password(*, user: User, password: str, cause: Cause) -> None:
    """Change the password; every token, every session and the CLI secret become invalid.

    Raises InvalidInput if it is too weak.
    """
    encoded = hash_chosen(password, lane=cause.subject.key)
    with _user_change(user, cause, UserPasswordChanged):
        CliSecret.objects.filter(user=user).delete()
        User.objects.filter(pk=user.pk).update(password=encoded, **_new_credentials())
    user.refresh_from_db()
    if user.username == FIRST_ADMIN:
        (get_config().secrets_dir / "admin.password").unlink(missing_ok=True)


def sign_up(*, username: str, password: str, email: str, realname: str, comment: str, cause: Cause) -> User:
    """Let a person create an account, which has no permissions. It is recorded as created anonymously.

    Raises NotAllowed unless the setting `self_registration` allows it, TooManyAttempts, and what `create_user` raises.
    """
    if not allows_sign_up():
        raise NotAllowed("self-registration is disabled: ask an administrator for an account")
    _sign_ups.check(client=cause.client, name="")
    _sign_ups.failed(client=cause.client, name="")
    return create_user(
        username=username,
        password=password,
        email=email,
        realname=realname,
        comment=comment,
        cause=replace(cause, subject=ANONYMOUS),
        lane=network_of(cause.client),
    )


def allows_sign_up() -> bool:
    """Whether people may create accounts for themselves."""
    settings = current()
    return settings.truth("self_registration") and settings.text("auth_mode") == "db_auth"


def update_profile(*, user: User, email: str, realname: str, comment: str, cause: Cause) -> None:
    """Change a user's profile. Raises InvalidInput, or AlreadyExists if the e-mail address is taken."""
    check_profile(email=email, realname=realname, comment=comment)
    try:
        _change(user, cause, UserUpdated, email=email, realname=realname, comment=comment)
    except IntegrityError:
        raise AlreadyExists("a user with this e-mail address already exists: choose another") from None


def set_sysadmin(*, user: User, is_sysadmin: bool, cause: Cause) -> None:
    """Grant or revoke the system administrator role. Raises NotAllowed for the last administrator, and if the acting
    subject is not administrator; NotFound if the user is deleted."""
    require_sysadmin(cause.subject)
    with _user_change(user, cause, UserUpdated, ends_administrator=not is_sysadmin, is_sysadmin=is_sysadmin):
        User.objects.filter(pk=user.pk).update(is_sysadmin=is_sysadmin, updated_at=Now())
    user.refresh_from_db()


def set_active(*, user: User, is_active: bool, cause: Cause) -> None:
    """Enable or disable a user; disabling invalidates its tokens. Raises NotAllowed for the last administrator."""
    with _user_change(user, cause, UserUpdated, ends_administrator=not is_active, is_active=is_active):
        values = {"updated_at": Now()} if is_active else _new_credentials()
        User.objects.filter(pk=user.pk).update(is_active=is_active, **values)
    user.refresh_from_db()


def revoke_sessions(*, user: User, cause: Cause) -> None:
    """Invalidate every session, bearer token and refresh token of a user, at once."""
    _change(user, cause, UserSessionsRevoked, **_new_credentials())


def delete_user(*, user: User, cause: Cause) -> None:
    """Delete a user: the row is kept for history, the name becomes available, memberships and secrets are deleted.

    Raises NotAllowed for the acting subject itself, for the last administrator, and if a robot would delete an
    administrator; NotFound if it is already deleted.
    """
    by = cause.subject
    if (by.kind, by.id) == (SubjectKind.USER, user.pk):
        raise NotAllowed("you cannot delete your own account: ask another administrator")
    with _user_change(user, cause, UserDeleted, ends_administrator=True):
        if by.kind is SubjectKind.ROBOT and User.objects.filter(pk=user.pk, is_sysadmin=True).exists():
            raise NotAllowed("a robot cannot delete an administrator")
        user.memberships.all().delete()
        user.group_links.all().delete()
        CliSecret.objects.filter(user=user).delete()
        gone_name = f"{user.username[:240]}#{user.pk}"
        User.objects.filter(pk=user.pk).update(
            username=gone_name, is_active=False, deleted_at=Now(), **_new_credentials()
        )
    user.refresh_from_db()


def set_cli_secret(*, user: User, secret: str = "", cause: Cause) -> str:
    """Give a user a new CLI secret and return it: `secret`, or a generated one if empty.

    Raises InvalidInput if the given one is too weak.
    """
    shown = secret or generate_secret()
    stored = hash_chosen(secret, lane=cause.subject.key) if secret else hash_generated(shown)
    with _user_change(user, cause, UserCliSecretChanged):
        CliSecret.objects.update_or_create(user=user, defaults={"hash": stored, "is_chosen_secret": bool(secret)})
        User.objects.filter(pk=user.pk).update(**_new_credentials())
    user.refresh_from_db()
    return shown


def delete_cli_secret(*, user: User, cause: Cause) -> None:
    """Delete a user's CLI secret; every token and session of the user becomes invalid. Raises NotFound if there is
    none."""
    with _user_change(user, cause, UserCliSecretDeleted):
        if not CliSecret.objects.filter(user=user).delete()[0]:
            raise NotFound("this user has no CLI secret")
        User.objects.filter(pk=user.pk).update(**_new_credentials())
    user.refresh_from_db()


def _change(user: User, cause: Cause, happened: type[UserEvent], **values: object) -> None:
    with _user_change(user, cause, happened):
        User.objects.filter(pk=user.pk).update(**{"updated_at": Now(), **values})
    user.refresh_from_db()


@contextmanager
def _user_change(
    user: User, cause: Cause, happened: type[UserEvent], *, ends_administrator: bool = False, **details: bool
) -> Iterator[None]:
    """The frame of a change of a living user. Raises NotFound if it is deleted, NotAllowed for the last
    administrator."""
    event = happened(user_id=user.pk, username=user.username, **details)
    with rights_change(event, user_key(user.pk), cause=cause):
        if ends_administrator:
            _keep_an_administrator(user)
        if not User.objects.select_for_update().filter(pk=user.pk, deleted_at=None).exists():
            raise NotFound("this user does not exist any more")
        yield


def _keep_an_administrator(user: User) -> None:
    """Raises NotAllowed if there is no administrator besides `user`. Locks all of them, in order: if two administrators
    demote each other, the second sees the first one's change."""
    administrators = User.objects.select_for_update().filter(is_sysadmin=True, is_active=True, deleted_at=None)
    if list(administrators.order_by("pk").values_list("pk", flat=True)) == [user.pk]:
        raise NotAllowed("this is the last administrator: appoint another one first")


def _new_credentials() -> dict[str, object]:
    """Column values that invalidate every token issued so far."""
    return {"credential_version": F("credential_version") + 1, "updated_at": Now()}
