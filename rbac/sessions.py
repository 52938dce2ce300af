"""Console sessions: how long they live, and that they began or ended, by whichever door."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.http import HttpRequest

from rbac.models import User
from registry_core.events.outbox import emit
from registry_core.settings_store.values import current


def follow() -> None:
    """Have a say when a session begins or ends. From `ready`."""
    user_logged_in.connect(_began, dispatch_uid="rbac.sessions.began")
    user_logged_out.connect(_ended, dispatch_uid="rbac.sessions.ended")


def _began(request: HttpRequest, user: User, **_: Any) -> None:
    request.session.set_expiry(current().number("session_timeout") * 60)
    emit(kind="user.signed_in", subject=user.subject)


def _ended(request: HttpRequest, user: User | None, **_: Any) -> None:
    if user is not None:
        emit(kind="user.signed_out", subject=user.subject)
