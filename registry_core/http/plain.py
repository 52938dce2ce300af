"""The setting `http_port`: whoever comes by plain HTTP is told to come by HTTPS.

Pages are redirected. Programs get an error instead: what they send carries secrets, and would go on doing so unnoticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from http import HTTPStatus
from typing import Final

from registry_core.config import Config
from registry_core.http.forwarded import is_host, split_host
from registry_core.http.messages import Header, Response, json_response

_HEAD_MAX_BYTES: Final = 16 << 10
_HEAD_WITHIN_S: Final = 10.0
_BODY_MAX_BYTES: Final = 64 << 10
_BODY_WITHIN_S: Final = 1.0
_FOR_PROGRAMS: Final = ("/v2", "/service", "/api")


_bound: list[socket.socket] = []


def bind(config: Config) -> None:
    """Open `http_port` in the parent of the workers, which may still do so where that takes root. Raises OSError."""
    if config.http_port is not None and config.serves_tls:
        _bound.append(_socket(config.host, config.http_port))


async def listen(config: Config) -> asyncio.Server | None:
    """Answer on `http_port`, where TLS is served and there is one. Raises OSError when the port is taken."""
    if config.http_port is None or not config.serves_tls:
        return None

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_WITHIN_S)
            writer.write(_bytes(respond(head, config)))
            await writer.drain()
            await _end(reader, writer)
        writer.close()

    return await asyncio.start_server(
        answer, sock=_bound[0].dup() if _bound else _socket(config.host, config.http_port), limit=_HEAD_MAX_BYTES
    )


def respond(head: bytes, config: Config) -> Response:
    """The answer to a request's head: 308 to the same address by HTTPS, or an error in the form of the OCI endpoint."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    headers = dict(_header(line) for line in lines[1:] if ":" in line)
    target = words[1] if len(words) == 3 else ""
    host = config.authority or _with_port(headers.get("host", ""), config.port)
    if not is_host(host) or not target.startswith("/") or not target.isprintable():
        return _error("the request is not one of HTTP/1.1")
    if target.partition("?")[0].startswith(_FOR_PROGRAMS):
        return _error(f"this is an HTTPS server: use https://{host}")
    return Response(308, [("location", f"https://{host}{config.url_prefix}{target}")])


def _socket(host: str, port: int) -> socket.socket:
    """Shared by the workers, and like the server's own: `::` is for IPv4 as well, which asyncio's would not be."""
    is_v6 = ":" in host
    family = socket.AF_INET6 if is_v6 else socket.AF_INET
    return socket.create_server((host, port), family=family, reuse_port=True, dualstack_ipv6=host == "::")


def _error(message: str) -> Response:
    return json_response(400, {"errors": [{"code": "UNSUPPORTED", "message": message}]})


def _header(line: str) -> Header:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()


def _with_port(host: str, port: int) -> str:
    name, _ = split_host(host)
    return name if port == 443 else f"{name}:{port}"


def _bytes(response: Response) -> bytes:
    headers = [*response.headers, ("content-length", str(len(response.body))), ("connection", "close")]
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}\r\n{head}\r\n".encode() + response.body


async def _end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read on for a moment: closing upon unread bytes would reset the connection, and the answer with it."""
    if writer.can_write_eof():
        writer.write_eof()
    async with asyncio.timeout(_BODY_WITHIN_S):
        for _ in range(_BODY_MAX_BYTES // 4096):
            if not await reader.read(4096):
                return
