"""The cause of what a request to Django asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from registry_core.access import CLIENT, Cause

if TYPE_CHECKING:
    from django.http import HttpRequest
    from rest_framework.request import Request

    from registry_core.access import Subject

REQUEST_ID: Final = "portolan.request_id"
"""Under this the server's adapter says in a request's environment under which id the logs have it."""


def client_of(request: HttpRequest | Request) -> str:
    """The address that the request comes from."""
    return str(request.META.get("REMOTE_ADDR", ""))


def cause_of(request: HttpRequest | Request, subject: Subject) -> Cause:
    """The cause of what the request changes on behalf of `subject`, which has been authenticated."""
    return Cause(subject, client_of(request), CLIENT, str(request.META.get(REQUEST_ID, "")))
