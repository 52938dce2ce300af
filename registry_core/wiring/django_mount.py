"""Django behind the data path's server: converts a request to a WSGI call in a thread, and its answer to a response."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from registry_core.access import TooManyAttempts, Unauthenticated
from registry_core.api.causes import REQUEST_ID
from registry_core.api.sign_ins import USER, may_hash
from registry_core.distribution.identity import credentials_key, identify, identity_cache
from registry_core.distribution.token import BASIC_CHALLENGE
from registry_core.http import callers, threads
from registry_core.http.forwarded import FIELDS, split_host
from registry_core.http.messages import BodyTooLarge, Request, Response
from registry_core.http.refusals import refusal
from registry_core.http.sessions import is_session

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from registry_core.distribution.services import Services

BODY_LIMIT_BYTES: Final = 10 << 20
STRANGERS_BODY_BYTES: Final = 64 << 10
HEADER_MAX_CHARACTERS: Final = 8192
# Python's parsers of parameters take time that grows with the square of the length.
CONTENT_TYPE_MAX_CHARACTERS: Final = 255
# Set once from the request's own fields; nothing behind this may derive them again from headers.
_DECIDED = {"content-type", "content-length", "host", *FIELDS}


async def call(application: WSGIApplication, request: Request, services: Services, *, prefix: str = "") -> Response:
    """Answer a request with a WSGI application; its body is read completely first.

    Up to STRANGERS_BODY_BYTES of it for anybody, up to BODY_LIMIT_BYTES once the request's credentials were verified.
    `prefix` is the path under which clients see the application, and which the request's path does not have.
    """
    if long := _long_header(request):
        return refusal(request.path, 431, f"the header {long[:100]} is too long")
    identity = identity_cache.get(credentials_key(request.headers.get("authorization", "")))
    if identity is not None:
        callers.recognize(identity.subject)
    try:
        body = await _read(request, services)
    except BodyTooLarge as error:
        return refusal(request.path, 413, str(error))
    except Unauthenticated as error:
        return refusal(request.path, 401, str(error), ("www-authenticate", BASIC_CHALLENGE))
    except TooManyAttempts as error:
        return refusal(request.path, 429, str(error), ("retry-after", str(error.retry_after_s)))
    environ = _environ(request, body, prefix)
    run = threads.run_plain_sign_in if may_hash(request) else threads.run_plain
    response = await run(_call, application, environ)
    request.user = str(environ.get(USER, request.user))
    return response


async def _read(request: Request, services: Services) -> bytes:
    """The body. Raises BodyTooLarge, Unauthenticated or TooManyAttempts."""
    limit_bytes, body = STRANGERS_BODY_BYTES, bytearray()
    if (request.content_length or 0) > limit_bytes:
        limit_bytes = await _limit_of_known(request, services)
    async for chunk in request.chunks():
        size_bytes = len(body) + len(chunk)
        if limit_bytes < size_bytes and limit_bytes == STRANGERS_BODY_BYTES:
            limit_bytes = await _limit_of_known(request, services)
        if size_bytes > limit_bytes:
            raise _too_large(limit_bytes)
        request.keep(len(chunk))
        body += chunk
    return bytes(body)


async def _limit_of_known(request: Request, services: Services) -> int:
    """The body's limit for an authenticated caller. Raises BodyTooLarge, also for others."""
    if (request.content_length or 0) > BODY_LIMIT_BYTES:
        raise _too_large(BODY_LIMIT_BYTES)
    if not await _is_known(request, services):
        raise BodyTooLarge(
            f"without valid credentials a request may have at most {STRANGERS_BODY_BYTES} bytes: sign in first"
        )
    return BODY_LIMIT_BYTES


async def _is_known(request: Request, services: Services) -> bool:
    if request.headers.get("authorization", ""):
        return not (await identify(request, services)).subject.is_anonymous
    key = _session_key(request.headers.get("cookie", ""))
    return bool(key) and await threads.run(is_session, key)


def _session_key(cookies: str) -> str:
    from django.conf import settings

    try:
        morsel = SimpleCookie(_without_escapes(cookies)).get(settings.SESSION_COOKIE_NAME)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""


def _too_large(limit_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"a request may have at most {limit_bytes} bytes")


def _long_header(request: Request) -> str:
    """The name of a header that is longer than any legitimate one; empty if there is none."""
    if len(request.headers.get("content-type", "")) > CONTENT_TYPE_MAX_CHARACTERS:
        return "content-type"
    return next((name for name, value in request.headers.items() if len(value) > HEADER_MAX_CHARACTERS), "")


def _environ(request: Request, body: bytes, prefix: str) -> dict[str, Any]:
    name, port = split_host(request.host)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": prefix,
        # WSGI wants the decoded path as latin-1 text of its UTF-8 bytes (PEP 3333).
        "PATH_INFO": request.path.encode().decode("latin-1"),
        "RAW_URI": prefix + quote(request.path),
        "QUERY_STRING": request.query_string,
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": name,
        "SERVER_PORT": port or ("443" if request.scheme == "https" else "80"),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": request.host,
        "REMOTE_ADDR": request.address,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        REQUEST_ID: request.id,
    }
    for name, value in request.headers.items():
        # In CGI's spelling `x_forwarded_for` would look like `x-forwarded-for`, so names with _ are dropped.
        if name not in _DECIDED and "_" not in name:
            environ["HTTP_" + name.upper().replace("-", "_")] = value
    if "\\" in environ.get("HTTP_COOKIE", ""):
        environ["HTTP_COOKIE"] = _without_escapes(environ["HTTP_COOKIE"])
    return environ


def _without_escapes(cookies: str) -> str:
    """The cookies without escapes. Ours have none; decoding those of others takes Python 3.11 seconds
    (CVE-2024-7592)."""
    return ";".join(cookie for cookie in cookies.split(";") if "\\" not in cookie)


def _call(application: WSGIApplication, environ: dict[str, Any]) -> Response:
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started[:] = [int(status.split(" ", 1)[0]), headers]
        return started.append

    chunks: Iterable[bytes] = application(environ, start_response)
    try:
        body = b"".join(chunks)
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()
    status, headers = started[0], started[1]
    return Response(status, [(name.lower(), value) for name, value in headers], body)
