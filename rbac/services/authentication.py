"""Who is it? Names and secrets of users, command-line clients and robots, checked without telling which part was wrong.

Generated secrets are compared by HMAC first, which costs nothing and needs no throttle (256 bits are not guessed). Then
the throttle is asked, and only then argon2, once, whether the name exists or not.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict
from typing import Final

from rbac.models import CliSecret, User
from rbac.services import passwords
from rbac.services.robots import find_robot, robot_name_prefix, robot_subject
from rbac.services.secret_hashes import is_generated_secret, looks_generated
from rbac.services.throttle import Throttle
from rbac.services.turns import Turns
from rbac.services.users import is_possible_username
from registry_core.access import Subject, Unauthenticated

REMEMBER_S: Final = 60.0
_REMEMBERED_MAX: Final = 10_000
_NO_HASH: Final = "0" * 64
_throttle = Throttle()
_turns = Turns(wait_s=passwords.WAIT_S)


def authenticate(*, username: str, secret: str, client: str) -> Subject:
    """The user or robot with these credentials. Raises Unauthenticated or TooManyAttempts.

    The prefix of robots is a setting: where a user's name can begin with it as well, users sign in all the same.
    """
    username = username.replace("\x00", "�")  # Postgres refuses NUL; no name has either character
    prefix = robot_name_prefix()
    if not username.startswith(prefix):
        return _user(username, secret, client)
    try:
        return _robot(username, secret, client)
    except Unauthenticated:
        if not is_possible_username(prefix):
            raise
        return _user(username, secret, client)


def is_password(*, user: User, password: str, client: str) -> bool:
    """Whether this is the user's password, not another secret of his. Raises TooManyAttempts."""
    version = f"password:{user.pk}:{user.credential_version}"
    return _is_chosen(user.username, password, client, version, (user.password,))


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


def _user(username: str, secret: str, client: str) -> Subject:
    user = User.objects.named(username).filter(is_active=True).first()
    cli = CliSecret.objects.filter(user=user).first() if user else None
    generated_hash = cli.hash if cli and not cli.is_chosen_secret else _NO_HASH
    if is_generated_secret(secret, generated_hash) and user is not None:
        return user.subject
    version = f"user:{user.pk}:{user.credential_version}" if user else ""
    # Two hashes, whoever it is and whatever he has: a name with a chosen CLI secret must not take longer than others.
    chosen = (user.password if user else None, cli.hash if cli and cli.is_chosen_secret else None)
    if not _is_chosen(username, secret, client, version, chosen) or user is None:
        raise _wrong()
    return user.subject


def _is_chosen(username: str, secret: str, client: str, version: str, stored_hashes: tuple[str | None, ...]) -> bool:
    """Whether a chosen secret is right by one of the hashes: throttled, remembered for a minute once it was.

    A client that comes with the same secret many times at once waits for the first: a job that begins with sixteen
    downloads needs one check, and would find the pool full with sixteen.
    """
    _throttle.check(client=client, name=username)
    if version and _remembered.has(version, secret):
        return True
    with _turns.turn((client, username, version, secret)):
        _throttle.check(client=client, name=username)
        if version and _remembered.has(version, secret):
            return True
        return _is_one_of(username, secret, client, version, stored_hashes)


def _is_one_of(username: str, secret: str, client: str, version: str, stored_hashes: tuple[str | None, ...]) -> bool:
    if not any(passwords.is_chosen_secret(secret, stored_hash) for stored_hash in stored_hashes):
        _throttle.failed(client=client, name=username)
        return False
    _throttle.succeeded(client=client, name=username)
    _remembered.add(version, secret)
    return True


def _wrong() -> Unauthenticated:
    return Unauthenticated("the user name or the password is wrong")


class _Remembered:
    """Which secrets were right within the last minute, under an HMAC whose key this process alone has."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def has(self, version: str, secret: str) -> bool:
        return self._until.get(self._mark(version, secret), 0.0) > time.monotonic()

    def add(self, version: str, secret: str) -> None:
        with self._lock:
            self._until[self._mark(version, secret)] = time.monotonic() + REMEMBER_S
            while len(self._until) > _REMEMBERED_MAX:
                self._until.popitem(last=False)

    def _mark(self, version: str, secret: str) -> bytes:
        return hmac.digest(self._key, f"{version}:{secret}".encode(), "sha256")


_remembered = _Remembered()
