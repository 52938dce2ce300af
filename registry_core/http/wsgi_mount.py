"""Django behind the data path's server: a request of ours becomes a WSGI call in a thread, its answer one of ours."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from registry_core import threads
from registry_core.api.sign_ins import USER, may_hash
from registry_core.http.forwarded import FIELDS, split_host
from registry_core.http.messages import BodyTooLarge, Request, Response, json_response

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

BODY_LIMIT_BYTES = 10 << 20
# Said once and for all by the request's own fields: nothing behind here may make up its own mind from these.
_DECIDED = {"content-type", "content-length", "host", *FIELDS}


async def call(application: WSGIApplication, request: Request, *, prefix: str = "") -> Response:
    """Answer a request by a WSGI application; its body is read whole first, up to BODY_LIMIT_BYTES.

    `prefix` is the path under which clients see the application, and which is not in the request's path.
    """
    try:
        body = await request.read(limit_bytes=BODY_LIMIT_BYTES)
    except BodyTooLarge:
        error = {"code": "REQUEST_ENTITY_TOO_LARGE", "message": f"a request has at most {BODY_LIMIT_BYTES} bytes"}
        return json_response(413, {"errors": [error]})
    environ = _environ(request, body, prefix)
    run = threads.run_plain_sign_in if may_hash(request) else threads.run_plain
    response = await run(_call, application, environ)
    request.user = str(environ.get(USER, request.user))
    return response


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
        "portolan.request_id": request.id,
    }
    for name, value in request.headers.items():
        # In CGI's spelling `x_forwarded_for` would pass for `x-forwarded-for`: a name with _ is not taken over.
        if name not in _DECIDED and "_" not in name:
            environ["HTTP_" + name.upper().replace("-", "_")] = value
    return environ


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
