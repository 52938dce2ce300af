"""Who may have a session: the same rule for every endpoint that opens one. `rbac.sessions` writes the events."""

from __future__ import annotations

from typing import Final

from rbac.models import User
from rbac.services import authentication
from registry_core.access import SubjectKind
from registry_core.errors import NotAllowed

ROBOT: Final = "robot accounts cannot sign in to a session: use one with docker login or the API"


def sign_in(*, username: str, password: str, client: str) -> User:
    """The user with this name and password, if it may have a session now.

    Raises Unauthenticated, TooManyAttempts, or NotAllowed for a robot.
    """
    subject = authentication.authenticate_for_session(username=username, password=password, client=client)
    if subject.kind is not SubjectKind.USER:
        raise NotAllowed(ROBOT)
    return User.objects.get(pk=subject.id)
