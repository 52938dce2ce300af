"""The one place where an exception becomes a REST error: `{"errors":[{"code","message"}]}`.

Views and operations raise; none builds an error body itself. An exception that is not handled here is a bug: it goes on
to Django, which logs it and answers 500 through `registry_core.api.views.server_error`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from django.core.exceptions import PermissionDenied
from django.db import DataError
from django.http import Http404, HttpResponse
from rest_framework import exceptions, status

from registry_core.access import TooManyAttempts, Unauthenticated
from registry_core.content import errors as content
from registry_core.digests import DigestError
from registry_core.distribution.token import BASIC_CHALLENGE
from registry_core.errors import (
    AlreadyExists,
    InvalidInput,
    NotAllowed,
    NotFound,
    PreconditionFailed,
    TryAgain,
    Unavailable,
    Unprocessable,
)
from registry_core.names import InvalidName
from registry_core.storage.outages import RETRY_AFTER_S, outage_of

CODES: Final = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT",
    412: "PRECONDITION",
    413: "REQUEST_ENTITY_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    422: "UNPROCESSABLE_ENTITY",
    429: "TOO_MANY_REQUEST",
    500: "UNKNOWN",
    501: "NOT_IMPLEMENTED",
    503: "SERVICE_UNAVAILABLE",
    507: "INSUFFICIENT_STORAGE",
}
NOT_FOUND_MESSAGE: Final = "there is nothing at this address"
SERVER_ERROR_MESSAGE: Final = "the registry failed to answer this request: see its log for the reason"

_STATUS: Final[dict[type[Exception], int]] = {
    InvalidInput: 400,
    Unprocessable: 422,
    NotAllowed: 403,
    NotFound: 404,
    AlreadyExists: 409,
    PreconditionFailed: 412,
    InvalidName: 400,
    DigestError: 400,
    content.RepositoryUnknown: 404,
    content.ManifestUnknown: 404,
    content.BlobUnknown: 404,
    content.UploadUnknown: 404,
    content.TooManyUploads: 429,
    content.UploadBusy: 409,
    content.DigestMismatch: 400,
    content.ManifestInvalid: 400,
    content.ManifestTooLarge: 413,
    content.ReferenceMissing: 400,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """An error answer: status, code (default: that of the status), messages and headers."""

    status: int
    messages: list[str]
    code: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def error_body(status_code: int, *messages: str, code: str = "") -> dict[str, list[dict[str, str]]]:
    """The body of an error answer: one entry per message, all with the same code."""
    known = CODES.get(status_code, "BAD_REQUEST" if status_code < status.HTTP_500_INTERNAL_SERVER_ERROR else "UNKNOWN")
    return {"errors": [{"code": code or known, "message": message} for message in messages]}


def error_response(failure: Failure) -> HttpResponse:
    """The answer to a failure: JSON without blanks, as some clients compare the body as it is."""
    messages = [message.encode(errors="replace").decode() for message in failure.messages]  # half a surrogate pair
    body = msgspec.json.encode(error_body(failure.status, *messages, code=failure.code))
    return HttpResponse(body, "application/json", failure.status, headers=failure.headers)


def exception_handler(exception: Exception, _context: dict[str, Any]) -> HttpResponse | None:
    """The answer to `exception`; None for an unexpected exception.

    Always JSON, whatever renderer the view uses for its own answers.
    """
    failure = failure_of(exception)
    return None if failure is None else error_response(failure)


def failure_of(exception: Exception) -> Failure | None:
    """The failure that an exception stands for; None if it is unexpected."""
    match exception:
        case exceptions.APIException():
            return _of_framework(exception)
        case Http404():
            return Failure(404, [NOT_FOUND_MESSAGE])
        case PermissionDenied():
            return Failure(403, [str(exceptions.PermissionDenied().detail)])
        case Unauthenticated():
            return Failure(401, [str(exception)], headers={"WWW-Authenticate": BASIC_CHALLENGE})
        case TooManyAttempts() | TryAgain():
            return Failure(429, [str(exception)], headers={"Retry-After": str(exception.retry_after_s)})
        case content.Protected():
            return Failure(412, [exception.message])
        case content.Refused():
            return Failure(403, [exception.message], "DENIED")
        case content.ContentInUse():
            return Failure(412, [exception.message], "VIOLATE_FOREIGN_KEY_CONSTRAINT")
        case content.QuotaExceeded():
            return Failure(403, [exception.message], "DENIED")
        case Unavailable():
            return Failure(503, [str(exception)], headers={"Retry-After": str(RETRY_AFTER_S)})
        case DataError():
            return Failure(400, ["a value is too long or out of range"])
    if (outage := outage_of(exception)) is not None:
        wait = {} if outage.retry_after_s is None else {"Retry-After": str(outage.retry_after_s)}
        return Failure(outage.status, [outage.message], headers=wait)
    known = next((_STATUS[kind] for kind in type(exception).__mro__ if kind in _STATUS), None)
    return Failure(known, [str(exception)]) if known else None


def _of_framework(error: exceptions.APIException) -> Failure:
    headers = {}
    if wait_s := getattr(error, "wait", None):
        headers["Retry-After"] = str(int(wait_s))
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    return Failure(error.status_code, _messages(error.detail), headers=headers)


def _messages(detail: Any, name: str = "") -> list[str]:
    """Every message in DRF's detail: text, a list of details, or details by field name."""
    if isinstance(detail, dict):
        return [message for inner_name, inner in detail.items() for message in _messages(inner, inner_name)]
    if isinstance(detail, list):
        return [message for inner in detail for message in _messages(inner, name)]
    return [f"{name}: {detail}" if name and name != "non_field_errors" else str(detail)]
