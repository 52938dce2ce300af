"""Console sessions: their lifetime, and events for their beginning and end, from every endpoint."""

from __future__ import annotations

import time
from typing import Any, Final

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

from rbac.events import UserSignedIn, UserSignedOut
from rbac.models import User
from registry_core.api.causes import cause_of
from registry_core.events.outbox import emit
from registry_core.settings_store.values import current

PROLONG_AFTER: Final = "prolong_after"
_PROLONGS_PER_LIFE: Final = 10
_PROLONGED_LATEST_S: Final = 300


def prolong(session: SessionBase) -> None:
    """Extend the session's life, since it is in use.

    Written at most ten times per lifetime, and at least every five minutes of use.
    """
    now_s = int(time.time())
    if now_s < session.get(PROLONG_AFTER, 0) <= now_s + _PROLONGED_LATEST_S:
        return  # neither reads the setting nor writes
    life_s = current().number("session_timeout") * 60
    session[PROLONG_AFTER] = now_s + min(life_s // _PROLONGS_PER_LIFE, _PROLONGED_LATEST_S)
    session.set_expiry(life_s)


def follow() -> None:
    """Connect to the signals of sign-in and sign-out. From `ready`."""
    user_logged_in.connect(_began, dispatch_uid="rbac.sessions.began")
    user_logged_out.connect(_ended, dispatch_uid="rbac.sessions.ended")


def _began(request: HttpRequest, user: User, **_: Any) -> None:
    prolong(request.session)
    cause = cause_of(request, user.subject)
    emit(UserSignedIn(user_id=user.pk, username=user.username), cause=cause)


def _ended(request: HttpRequest, user: User | None, **_: Any) -> None:
    if user is not None:
        cause = cause_of(request, user.subject)
        emit(UserSignedOut(user_id=user.pk, username=user.username), cause=cause)
