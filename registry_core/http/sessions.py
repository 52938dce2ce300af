"""Whether a session's key belongs to a signed-in user: checked before much of a request's body is read."""

from __future__ import annotations

from importlib import import_module

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest


def is_session(key: str) -> bool:
    """Whether a living session has this key, and its user may still act."""
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    return get_user(request).is_authenticated
