"""Authentication of users, command-line clients and robots by name and secret, without revealing which part was wrong.

Generated secrets are compared by HMAC first, which is cheap and needs no throttle (256 bits cannot be guessed). Then
the throttle is asked, and only then argon2 runs, once, whether or not the name exists. Every failure is written to the
audit log, from every way of signing in.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Final

from rbac.models import CliSecret, User
from rbac.services import hashing, passwords
from rbac.services.failures import report_failure
from rbac.services.robots import find_robot, robot_name_prefix, robot_subject
from rbac.services.secret_hashes import is_generated_secret, looks_generated
from rbac.services.throttle import Throttle
from rbac.services.turns import Turns
from rbac.services.users import is_possible_username, put_together
from registry_core.access import CACHED_S, Subject, Unauthenticated
from registry_core.caching.cache import Cache

_checked_cache: Cache[bool] = Cache("checked secrets", share=1 / 16)
"""Secrets that were correct within the last minute, by an HMAC whose key only this process has."""
_DIGEST_KEY: Final = secrets.token_bytes(32)
_ENTRY_BYTES: Final = 96  # an HMAC
_NO_HASH: Final = "0" * 64
_throttle = Throttle()
_turns = Turns(wait_s=hashing.WAIT_S)


def authenticate(*, username: str, secret: str, client: str) -> Subject:
    """The user or robot with these credentials. Raises Unauthenticated or TooManyAttempts."""
    return _reported(username, secret, client, is_session=False)


def authenticate_for_session(*, username: str, password: str, client: str) -> Subject:
    """As `authenticate`, for a session: only a user with its password; the CLI secret cannot open a session. Raises
    Unauthenticated or TooManyAttempts."""
    return _reported(username, password, client, is_session=True)


def is_password(*, user: User, password: str, client: str, is_guess: bool = True) -> bool:
    """Whether this is the user's password, not its CLI secret. Raises TooManyAttempts.

    `is_guess` false: the secret has already authenticated the request, so a wrong one is not counted.
    """
    version = f"password:{user.pk}:{user.credential_version}"
    return _is_chosen(user.username, password, client, version, (user.password,), is_guess=is_guess)


def _reported(username: str, secret: str, client: str, *, is_session: bool) -> Subject:
    username = username.replace("\x00", "�")  # Postgres refuses NUL; no name has either character
    try:
        return _found(username, secret, client, is_session=is_session)
    except Unauthenticated:
        report_failure(username=username, client=client)
        raise


def _found(username: str, secret: str, client: str, *, is_session: bool) -> Subject:
    """The robot prefix is a setting, and a user's name may begin with it too: such users can still sign in."""
    prefix = robot_name_prefix()
    if not username.startswith(prefix):
        return _user(username, secret, client, is_session=is_session)
    try:
        return _robot(username, secret, client)
    except Unauthenticated:
        if not is_possible_username(prefix):
            raise
        return _user(username, secret, client, is_session=is_session)


def _robot(username: str, secret: str, client: str) -> Subject:
    robot = find_robot(username)
    if looks_generated(secret):
        is_usable = robot is not None and not robot.is_chosen_secret
        is_right = is_generated_secret(secret, robot.secret_hash if robot and is_usable else _NO_HASH)
    else:
        version = f"robot:{robot.pk}:{robot.credential_version}" if robot else ""
        stored_hash = robot.secret_hash if robot and robot.is_chosen_secret else None
        is_right = _is_chosen(username, secret, client, version, (stored_hash,))
    if robot is None or not is_right:
        raise _wrong()
    return robot_subject(robot)


def _user(username: str, secret: str, client: str, *, is_session: bool) -> Subject:
    user = _named(username)
    if is_session:
        if user is None:
            is_right = _is_chosen(username, secret, client, "", (None,))
        else:
            is_right = is_password(user=user, password=secret, client=client)
    else:
        is_right = _is_secret_of(user, username, secret, client)
    if user is None or not is_right:
        raise _wrong()
    return user.subject


def _named(username: str) -> User | None:
    """The active user of this name, as given or in composed form (NFC), since some keyboards send decomposed
    letters."""
    names = dict.fromkeys([username, put_together(username)])
    found = (User.objects.named(name).filter(is_active=True).first() for name in names)
    return next((user for user in found if user is not None), None)


def _is_secret_of(user: User | None, username: str, secret: str, client: str) -> bool:
    """Whether it is the user's password or CLI secret."""
    cli = CliSecret.objects.filter(user=user).first() if user else None
    if is_generated_secret(secret, cli.hash if cli and not cli.is_chosen_secret else _NO_HASH):
        return True
    version = f"user:{user.pk}:{user.credential_version}" if user else ""
    chosen = [user.password if user else None]
    # Always two hashes: a name with a chosen CLI secret must not take longer than others.
    if CliSecret.objects.filter(is_chosen_secret=True).exists():
        chosen.append(cli.hash if cli and cli.is_chosen_secret else None)
    return _is_chosen(username, secret, client, version, tuple(chosen))


def _is_chosen(
    username: str,
    secret: str,
    client: str,
    version: str,
    stored_hashes: tuple[str | None, ...],
    *,
    is_guess: bool = True,
) -> bool:
    """Whether a chosen secret matches one of the hashes: throttled, and cached for a minute if it does.

    Simultaneous requests with the same secret wait for the first one: a job that begins with sixteen downloads needs
    one check, and sixteen would fill the pool.
    """
    if is_guess:
        _throttle.check(client=client, name=username)
    key = hmac.digest(_DIGEST_KEY, f"{version}:{secret}".encode(), "sha256") if version else None
    if key is not None and _checked_cache.get(key):
        return True
    with _turns.turn((client, username, version, secret)):
        if key is not None and _checked_cache.get(key):
            return True
        is_right = _is_one_of(username, secret, client, stored_hashes, is_guess=is_guess)
        if is_right and key is not None:
            # The version is part of the key, so no generation has to end it.
            _checked_cache.put(key, True, seen=(), size_bytes=_ENTRY_BYTES, ttl_s=CACHED_S)
        return is_right


def _is_one_of(
    username: str, secret: str, client: str, stored_hashes: tuple[str | None, ...], *, is_guess: bool
) -> bool:
    lane = _throttle.lane(client=client, name=username)
    with hashing.turn(lane.name, pace_s=lane.pace_s):
        if is_guess:  # failures of others may have been counted while this one waited
            _throttle.check(client=client, name=username)
        is_right = passwords.is_one_of(secret, stored_hashes)
        if is_right:
            _throttle.succeeded(client=client, name=username)
        elif is_guess:
            _throttle.failed(client=client, name=username)
    return is_right


def _wrong() -> Unauthenticated:
    return Unauthenticated("the user name or the password is wrong")
