"""The setting `http_port`: refers clients of plain HTTP to HTTPS.

Pages are redirected. Programs get an error instead: their requests carry secrets, and a redirect would let that go
unnoticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from http import HTTPStatus
from typing import Final

from registry_core.config import Config
from registry_core.http import outgoing
from registry_core.http.callers import network_of
from registry_core.http.fairness import Shared
from registry_core.http.forwarded import split_host
from registry_core.http.hosts import BadHost, named_host
from registry_core.http.messages import Header, Response, json_response
from registry_core.http.refusals import refusal
from registry_core.tls.names import wanted_names

_CONNECTIONS_MAX: Final = 1024  # per worker at the same time, shared fairly between addresses
_HEAD_MAX_BYTES: Final = 16 << 10
_HEAD_WITHIN_S: Final = 10.0
_BODY_MAX_BYTES: Final = 64 << 10
_BODY_WITHIN_S: Final = 1.0
_FOR_PROGRAMS: Final = ("/v2", "/service", "/api")


_bound: list[socket.socket] = []


def bind(config: Config) -> None:
    """Open `http_port` in the parent of the workers, which may still have the rights of root. Raises OSError."""
    if config.http_port is not None and config.serves_tls:
        _bound.append(_socket(config.host, config.http_port))


async def listen(config: Config) -> asyncio.Server | None:
    """Answer on `http_port`, if TLS is served and the setting is set. Raises OSError if the port is taken."""
    if config.http_port is None or not config.serves_tls:
        return None
    places = Shared(_CONNECTIONS_MAX)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = network_of(str((writer.get_extra_info("peername") or [""])[0]))
        try:
            if places.is_free_for(key):
                places.take(key)
                try:
                    await _converse(reader, writer, config)
                finally:
                    places.give_back(key)
        finally:
            writer.close()

    return await asyncio.start_server(
        answer, sock=_bound[0].dup() if _bound else _socket(config.host, config.http_port), limit=_HEAD_MAX_BYTES
    )


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, config: Config) -> None:
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_WITHIN_S)
        writer.write(_bytes(respond(head, config)))
        await writer.drain()
        await _end(reader, writer)


def respond(head: bytes, config: Config) -> Response:
    """The answer to a request's head: 308 to the same address with HTTPS, or an error in the form of the endpoint.

    It leads to a configured name, if there is one: the request's own Host is not trusted then.
    """
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    target = words[1] if len(words) == 3 else ""
    path = target.partition("?")[0]
    response = _answer(target, path, [_header(line) for line in lines[1:] if ":" in line], words[-1], config)
    response.headers = [
        *outgoing.of_class(response.headers, outgoing.class_of(path)),
        *outgoing.of_connection(secrets.token_hex(8), is_secure=False, is_last=True),
    ]
    return response


def _answer(target: str, path: str, headers: list[Header], version: str, config: Config) -> Response:
    if not target.startswith("/") or not target.isprintable() or not target.isascii():
        return refusal(path, 400, "the request is not valid HTTP/1.1")
    try:
        named = named_host(
            headers, dict(headers), target=None, version=version.removeprefix("HTTP/").removesuffix(".0")
        )
    except BadHost as error:
        return refusal(path, 400, str(error))
    host = config.authority or _configured(named or "", config)
    if not host or path.startswith(_FOR_PROGRAMS):
        message = f"this is an HTTPS server: use https://{host}"
        return json_response(400, {"errors": [{"code": "UNSUPPORTED", "message": message}]})
    return Response(308, [("location", f"https://{host}{config.url_prefix}{target}")])


def _configured(host: str, config: Config) -> str:
    """The host for a client that named `host`: the configured one, or that one if none is configured."""
    name, _ = split_host(host.lower())
    if config.hostname and not any(_is_named(name, known) for known in wanted_names(config)):
        name = next((known for known in config.hostname if not known.startswith("*")), "")
        name = f"[{name}]" if ":" in name else name
    return name if not name or config.port == 443 else f"{name}:{config.port}"


def _is_named(name: str, known: str) -> bool:
    """Whether `known`, as configured, matches `name`: a name, an address, or a wildcard for one label."""
    return name.strip("[]") == known or (known.startswith("*.") and name.partition(".")[2] == known[2:])


def _socket(host: str, port: int) -> socket.socket:
    """Shared by the workers, like the server's own socket: `::` also accepts IPv4, which asyncio's own would not."""
    is_v6 = ":" in host
    family = socket.AF_INET6 if is_v6 else socket.AF_INET
    return socket.create_server((host, port), family=family, reuse_port=True, dualstack_ipv6=host == "::")


def _header(line: str) -> Header:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()


def _bytes(response: Response) -> bytes:
    headers = [*response.headers, ("content-length", str(len(response.body)))]
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}\r\n{head}\r\n".encode() + response.body


async def _end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read on for a moment: closing with unread bytes would reset the connection, and lose the answer."""
    if writer.can_write_eof():
        writer.write_eof()
    async with asyncio.timeout(_BODY_WITHIN_S):
        for _ in range(_BODY_MAX_BYTES // 4096):
            if not await reader.read(4096):
                return
