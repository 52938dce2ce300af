"""HTTP as bytes on a socket: what no client library would send, and when."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http.client import HTTPResponse

from tests.support.people import Account
from tests.support.server import Server

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Answer:
    """An answer as it came; status 0: the connection ended without one."""

    status: int
    headers: dict[str, str]
    body: bytes


NOTHING = Answer(0, {}, b"")


def basic(account: Account | None) -> dict[str, str]:
    if account is None:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(f"{account.name}:{account.password}".encode()).decode()}


def head(
    server: Server, method: str, target: str, headers: dict[str, str] | None = None, *, version: str = "1.1"
) -> bytes:
    """A request's head, with a Host unless `headers` has one or is to have none (`"Host": ""`)."""
    fields = {"Host": server.host} | (headers or {})
    lines = [f"{name}: {value}\r\n" for name, value in fields.items() if value or name != "Host"]
    return f"{method} {target} HTTP/{version}\r\n{''.join(lines)}\r\n".encode()


def chunked(content: bytes, *sizes: int, trailers: Sequence[str] = ()) -> bytes:
    """The content in chunks of the sizes, and what is left in a last one."""
    framed, position = b"", 0
    for size in (*sizes, len(content)):
        piece = content[position : position + size]
        position += len(piece)
        framed += f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if piece else b""
    return framed + b"0\r\n" + "".join(f"{line}\r\n" for line in trailers).encode() + b"\r\n"


def connect(server: Server, *, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((server.address, server.port), timeout=PATIENCE_S, source_address=(source, 0))


def talk(server: Server, pieces: Iterable[bytes], *, is_cut: bool = False, method: str = "GET") -> Answer:
    """Send the pieces, each in a packet of its own if the kernel agrees; `is_cut`: nothing comes after them."""
    with connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        if is_cut:
            connection.shutdown(socket.SHUT_WR)
        return read_answer(connection, method=method)


def read_answer(connection: socket.socket, *, method: str = "GET") -> Answer:
    response = HTTPResponse(connection, method=method)
    try:
        response.begin()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    except (ConnectionError, ValueError, OSError):
        return NOTHING
    except Exception as error:  # http.client's own
        if type(error).__module__ == "http.client":
            return NOTHING
        raise
