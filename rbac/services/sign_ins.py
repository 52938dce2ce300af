"""Who may have a session: by whichever door, the same rule. That one began or ended is told by `rbac.sessions`.

Nobody is signed in yet when it fails (`user.sign_in_failed`, for the audit log), so a flood of failures must not fill
the outbox: each process writes a limited number, and counts the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from django.db import transaction

from rbac.models import User
from rbac.services import authentication
from registry_core.access import ANONYMOUS, SubjectKind, Unauthenticated
from registry_core.errors import NotAllowed
from registry_core.events.outbox import emit

FAILURES_TOLD: Final = 30
WINDOW_S: Final = 60.0
ROBOT: Final = "robot accounts cannot sign in to a session: use one with docker login or the API"


def sign_in(*, username: str, password: str, client: str) -> User:
    """The user with these credentials, who may have a session now.

    Raises Unauthenticated, TooManyAttempts, or NotAllowed for a robot.
    """
    try:
        subject = authentication.authenticate(username=username, secret=password, client=client)
    except Unauthenticated:
        _tell_failure(username, client)
        raise
    if subject.kind is not SubjectKind.USER:
        raise NotAllowed(ROBOT)
    return User.objects.get(pk=subject.id)


def _tell_failure(username: str, client: str) -> None:
    left_out = _failures.admit()
    if left_out is None:
        return
    payload = {"username": username.replace("\x00", "")[:255], "client": client[:64], "left_out": left_out}
    with transaction.atomic():
        emit(kind="user.sign_in_failed", subject=ANONYMOUS, payload=payload)


class Allowance:
    """So many within a window of time, and how many were not admitted since the last that was."""

    def __init__(self, *, most: int, window_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._window_s, self._clock = most, window_s, clock
        self._lock = threading.Lock()
        self._began_at, self._admitted, self._left_out = clock(), 0, 0

    def admit(self) -> int | None:
        """How many were left out before this one; None: this one is left out."""
        with self._lock:
            if self._clock() - self._began_at >= self._window_s:
                self._began_at, self._admitted = self._clock(), 0
            if self._admitted >= self._most:
                self._left_out += 1
                return None
            left_out, self._left_out = self._left_out, 0
            self._admitted += 1
            return left_out


_failures = Allowance(most=FAILURES_TOLD, window_s=WINDOW_S)
