"""Responses that are sent before or instead of an endpoint's own, in the form of that endpoint."""

from __future__ import annotations

from typing import Final

from registry_core.http.messages import Header, Response, json_response
from registry_core.http.outgoing import API, PAGE, class_of

_CODES: Final = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    408: "REQUEST_TIMEOUT",
    413: "REQUEST_ENTITY_TOO_LARGE",
    429: "TOO_MANY_REQUEST",
    431: "REQUEST_HEADER_FIELDS_TOO_LARGE",
    503: "SERVICE_UNAVAILABLE",
}
_OCI_CODES: Final = {413: "SIZE_INVALID", 429: "TOOMANYREQUESTS", 503: "UNAVAILABLE"}


def refusal(path: str, status: int, message: str, *headers: Header) -> Response:
    """A response `status` for `path`: errors in JSON for programs, a line of text for people."""
    kind = class_of(path)
    if kind is PAGE:
        return Response(status, [("content-type", "text/plain; charset=utf-8"), *headers], f"{message}\n".encode())
    code = _CODES.get(status, "UNKNOWN") if kind is API else _OCI_CODES.get(status, "UNSUPPORTED")
    return json_response(status, {"errors": [{"code": code, "message": message}]}, list(headers))
