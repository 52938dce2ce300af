"""The one place where an exception becomes a REST error: `{"errors":[{"code","message"}]}`.

Views and operations raise; nobody builds an error body by hand. What is not known here is a fault of ours: it goes on
to Django, which logs it and answers 500 through `registry_core.api.views.server_error`.
"""

from __future__ import annotations

from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.http import Http404, JsonResponse
from rest_framework import exceptions, status

from registry_core.access import TooManyAttempts, Unauthenticated

CODES: Final = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT",
    412: "PRECONDITION",
    413: "REQUEST_ENTITY_TOO_LARGE",
    429: "TOO_MANY_REQUEST",
    500: "UNKNOWN",
}
NOT_FOUND_MESSAGE: Final = "there is nothing at this address"
SERVER_ERROR_MESSAGE: Final = "the registry could not answer this request; its log says why"


def error_body(status_code: int, *messages: str) -> dict[str, list[dict[str, str]]]:
    """The body of an error answer: one entry per message, all with the code that belongs to `status_code`."""
    code = CODES.get(status_code, "BAD_REQUEST" if status_code < status.HTTP_500_INTERNAL_SERVER_ERROR else "UNKNOWN")
    return {"errors": [{"code": code, "message": message} for message in messages]}


def exception_handler(exception: Exception, _context: dict[str, Any]) -> JsonResponse | None:
    """The answer to `exception`; None when it is not one that a client can do something about.

    JSON whatever the view's renderer makes of its own answers.
    """
    error = _as_api_exception(exception)
    if error is None:
        return None
    response = JsonResponse(error_body(error.status_code, *_messages(error.detail)), status=error.status_code)
    if wait_s := getattr(error, "wait", None):
        response["Retry-After"] = str(int(wait_s))
    if challenge := getattr(error, "auth_header", None):
        response["WWW-Authenticate"] = challenge
    return response


def _as_api_exception(exception: Exception) -> exceptions.APIException | None:
    match exception:
        case exceptions.APIException():
            return exception
        case Http404():
            return exceptions.NotFound(NOT_FOUND_MESSAGE)
        case PermissionDenied():
            return exceptions.PermissionDenied()
        case Unauthenticated():
            return exceptions.AuthenticationFailed(str(exception))
        case TooManyAttempts():
            return exceptions.Throttled(exception.retry_after_s)
    return None


def _messages(detail: Any, field: str = "") -> list[str]:
    """Every message in what DRF calls a detail: text, a list of details, or details by field name."""
    if isinstance(detail, dict):
        return [message for name, inner in detail.items() for message in _messages(inner, name)]
    if isinstance(detail, list):
        return [message for inner in detail for message in _messages(inner, field)]
    return [f"{field}: {detail}" if field and field != "non_field_errors" else str(detail)]
