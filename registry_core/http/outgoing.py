"""The one place that every response passes: adds the headers of its class and of its connection.

A class is what a browser may do with a response. Content that clients pushed, and the API's answers, are data: nothing
in them may run, whatever Content-Type they were pushed with. The console's pages and files may run only their own
scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from registry_core.http.forwarded import parse_node, split_host
from registry_core.http.messages import Header

HSTS: Final[Header] = ("strict-transport-security", "max-age=31536000")
CLOSE: Final[Header] = ("connection", "close")
NOSNIFF: Final[Header] = ("x-content-type-options", "nosniff")
POLICY: Final = "content-security-policy"
INERT: Final = "default-src 'none'; sandbox; frame-ancestors 'none'"
OWN_FILES_ONLY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_FOR_BROWSERS: Final[tuple[Header, ...]] = (
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
)


ResponseClass = tuple[Header, ...]
"""Headers of all responses of a class."""

DATA: Final[ResponseClass] = (NOSNIFF, (POLICY, INERT))
"""Tokens: `/service/token`."""
REGISTRY: Final[ResponseClass] = (*DATA, ("docker-distribution-api-version", "registry/2.0"))
"""Stored content: `/v2/`."""
API: Final[ResponseClass] = (NOSNIFF, (POLICY, INERT), *_FOR_BROWSERS)
"""Answers and downloads of the REST API, and of the session endpoints."""
PAGE: Final[ResponseClass] = (NOSNIFF, (POLICY, OWN_FILES_ONLY), *_FOR_BROWSERS)
"""The console's pages and files, and everything else."""

_API_DOCUMENTATION: Final = "/api/docs"


def class_of(path: str) -> ResponseClass:
    """The class of responses to requests for `path`, which excludes the prefix of the external URL."""
    if path == "/v2" or path.startswith("/v2/"):
        return REGISTRY
    if path == "/service/token":
        return DATA
    if path.startswith(("/api/", "/c/")) and path != _API_DOCUMENTATION:
        return API
    return PAGE


def of_class(headers: Sequence[Header], kind: ResponseClass) -> list[Header]:
    """`headers` with those of their class. A view's own value takes precedence."""
    if kind is REGISTRY:  # no handler sets any
        return [*headers, *kind]
    names = {name for name, _ in headers}
    return [*headers, *(header for header in kind if header[0] not in names)]


def of_connection(request_id: str, *, is_secure: bool, is_last: bool = False) -> list[Header]:
    """The headers that depend on how the request arrived and whether the connection continues.

    `is_secure`: the client used HTTPS, and a host name. `is_last`: the connection ends with this response.
    """
    headers = [("x-request-id", request_id)]
    if is_secure:
        headers.append(HSTS)
    if is_last:
        headers.append(CLOSE)
    return headers


def is_secure(scheme: str, host: str) -> bool:
    """Whether a client that used this address is told to keep to HTTPS."""
    return scheme == "https" and not _is_local(host)


def _is_local(host: str) -> bool:
    """Whether `host` is `localhost`, for which HSTS must not be set (it would apply to every other server and port of
    the machine), or an address, for which browsers ignore it (RFC 6797 §8.1.1)."""
    name, _ = split_host(host)
    return name == "localhost" or name.endswith(".localhost") or parse_node(name) is not None
