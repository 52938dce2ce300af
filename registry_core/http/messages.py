"""Request and response types of the data path, independent of the server's interface.

The server adapter (`registry_core.wiring.rsgi`) makes a `Request` and sends a `Response`; no other module uses the
server's interface.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs

import msgspec

Header = tuple[str, str]
QUERY_FIELDS_MAX = 200


class ClientGone(Exception):
    """The client closed the connection before its request was complete. Nothing that arrived may be taken as
    complete."""


class BodyTooSlow(ClientGone):
    """The client sends the request's body too slowly."""


class BodyTooLarge(Exception):
    """The body is larger than the caller's limit."""


class TooManyBodies(Exception):
    """The bodies of requests in progress use all the memory that they may: all together, or (`is_own`) this client's.

    The message says what to do.
    """

    RETRY_AFTER_S: ClassVar = 1

    def __init__(self, *, is_own: bool) -> None:
        whose = "your requests" if is_own else "all requests"
        super().__init__(f"the bodies of {whose} in progress use all the memory available for them: try again")
        self.status = 429 if is_own else 503


class TooManyParameters(Exception):
    """The query has more parameters than any request needs."""


def declared_length(headers: Mapping[str, str]) -> int | None:
    """The body's length in bytes as declared; None if it is not declared, or not a number."""
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _kept_by_nobody(_size_bytes: int) -> None:
    """For requests whose memory is not counted."""


@dataclass(slots=True)
class Request:
    """A request. `path` is percent-decoded, once, by the server; header names are in lower case.

    `address`, `scheme` and `host` are the client's, as determined by `registry_core.http.forwarded`.
    """

    method: str
    path: str
    query_string: str
    headers: Mapping[str, str]
    address: str
    scheme: str
    host: str
    id: str
    base_url: str
    chunks: Callable[[], AsyncIterator[bytes]]
    keep: Callable[[int], None] = _kept_by_nobody
    """Called before so many bytes of the body are kept in memory until the response. Raises TooManyBodies."""
    problem: str = ""
    """Why the request is refused whatever it requests."""
    action: str = ""
    repository: str = ""
    user: str = "-"

    @property
    def content_length(self) -> int | None:
        """The declared length in bytes; None if there is none or it is not a number."""
        return declared_length(self.headers)

    @property
    def own_origins(self) -> tuple[str, ...]:
        """The origins of the registry as the client may see them."""
        return self.base_url, f"{self.scheme}://{self.host}"

    def query(self) -> dict[str, list[str]]:
        """The query's parameters, each with all of its values. Raises TooManyParameters."""
        try:
            return parse_qs(self.query_string, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
        except ValueError:
            raise TooManyParameters from None

    async def read(self, *, limit_bytes: int) -> bytes:
        """The whole body. Raises BodyTooLarge as soon as more than `limit_bytes` have arrived, whatever was declared,
        and TooManyBodies."""
        if (self.content_length or 0) > limit_bytes:
            raise BodyTooLarge
        body = bytearray()
        async for chunk in self.chunks():
            if len(body) + len(chunk) > limit_bytes:
                raise BodyTooLarge
            self.keep(len(chunk))
            body += chunk
        return bytes(body)


@dataclass(frozen=True, slots=True)
class FilePart:
    """A part of a file as a body: `length_bytes` from `start` on, which the server sends without passing them through
    Python."""

    path: Path
    start: int
    length_bytes: int

    def is_whole_file(self) -> bool:
        """Whether this part ends at the end of an existing file."""
        try:
            return os.stat(self.path).st_size == self.start + self.length_bytes
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class Relay:
    """A relayed body: `length_bytes`, produced by `chunks` in a thread."""

    chunks: Iterator[bytes]
    length_bytes: int


@dataclass(slots=True)
class Response:
    """A response. With `file` the body is that part of a file, with `relay` it is relayed."""

    status: int
    headers: list[Header] = field(default_factory=list)
    body: bytes = b""
    file: FilePart | None = None
    relay: Relay | None = None


def json_response(status: int, content: object, headers: list[Header] | None = None) -> Response:
    """A response with `content` as JSON; a lone surrogate, which JSON from clients can contain, becomes `?`."""
    try:
        body = msgspec.json.encode(content)
    except UnicodeEncodeError:
        body = json.dumps(content, ensure_ascii=False).encode(errors="replace")
    return Response(status, [("content-type", "application/json"), *(headers or [])], body)
