"""Request bodies: whether they arrived completely, their pace, and the memory that they take together.

If a body breaks off, the server ends it without an error, see docs/adr/0002-server-interface.md; telling the two cases
apart is done only here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Final

from granian._granian import RSGIHTTPProtocol, RSGIProtocolClosed
from granian.rsgi import Scope

from registry_core.config import get_config
from registry_core.http import callers, threads
from registry_core.http.fairness import AllTaken, OverShare, Shared
from registry_core.http.messages import BodyTooSlow, ClientGone, TooManyBodies, declared_length
from registry_core.http.pace import Pace
from registry_core.machine.sockets import is_peer_there

AT_ONCE_BYTES: Final = 64 << 10
CLOSE_WITHIN_S: Final = 0.1
"""How long after the end of TLS the end of the connection below it may be noticed."""


class Body:
    """A request's body: its chunks, once, whether they were requested, and whether they were read to the end.

    `is_awaited`: the client is being waited for. `memory`: counts what is kept of the body. It must not refer to the
    request: in a reference cycle the protocol object would outlive the response, and the connection with it.
    """

    __slots__ = (
        "are_trailers_announced",
        "declared_bytes",
        "is_awaited",
        "is_ended",
        "is_read",
        "is_there",
        "memory",
        "protocol",
        "scope",
    )

    def __init__(self, protocol: RSGIHTTPProtocol, headers: Mapping[str, str], scope: Scope) -> None:
        self.protocol = protocol
        self.memory: BodyMemory | None = None
        self.is_awaited = False
        self.declared_bytes = declared_length(headers)
        self.are_trailers_announced = "trailer" in headers
        self.is_there = bool(self.declared_bytes) or "transfer-encoding" in headers
        self.scope = scope
        self.is_read = False
        self.is_ended = False

    def __call__(self) -> AsyncIterator[bytes]:
        self.is_read = True
        return _chunks(self)


class BodyMemory:
    """The memory that one request uses for bodies, out of the total for all requests."""

    __slots__ = ("_all", "_taken")

    def __init__(self, all_bodies: Shared) -> None:
        self._all = all_bodies
        self._taken: list[tuple[str, int]] = []

    def take(self, size_bytes: int) -> None:
        """Reserve more memory. Raises TooManyBodies."""
        key = callers.current().group
        try:
            self._all.take(key, size_bytes)
        except OverShare:
            raise TooManyBodies(is_own=True) from None
        except AllTaken:
            raise TooManyBodies(is_own=False) from None
        self._taken.append((key, size_bytes))

    @contextmanager
    def while_it_comes(self, size_bytes: int) -> Iterator[None]:
        """Reserve memory for what the server collects before it hands it over. Raises TooManyBodies."""
        self.take(size_bytes)
        held = self._taken.pop()
        try:
            yield
        finally:
            self._all.give_back(*held)

    def give_back(self) -> None:
        """Release the memory, once the request is answered."""
        while self._taken:
            self._all.give_back(*self._taken.pop())


async def _chunks(body: Body) -> AsyncIterator[bytes]:
    """The body's chunks. Raises ClientGone if the client disconnected before the body was complete, BodyTooSlow, and
    TooManyBodies.

    In the first case the server ends the iteration without an error. A body with a declared length is counted. A
    chunked one ends with one empty chunk if it is complete; a second one means that there were trailers, which are
    discarded (RFC 9112 §7.1.2), or that it broke off.
    """
    declared = body.declared_bytes
    received, empty = 0, 0
    config = get_config()
    pace = Pace(config.body_idle_timeout_s, config.body_min_rate_bytes)
    chunks = _at_once(body, declared) if declared is not None and declared <= AT_ONCE_BYTES else aiter(body.protocol)
    try:
        while received != declared:
            asked_at_s = time.monotonic()
            body.is_awaited = True
            async with asyncio.timeout(pace.left_s):
                chunk = await anext(chunks)
            body.is_awaited = False
            pace.count(time.monotonic() - asked_at_s, len(chunk))
            if chunk:
                received += len(chunk)
                yield chunk
            else:
                empty += 1
    except StopAsyncIteration:
        pass
    except TimeoutError:
        raise BodyTooSlow from None
    except RSGIProtocolClosed:
        raise ClientGone from None
    body.is_ended, body.is_awaited = True, False
    if declared is not None and received < declared:
        raise ClientGone
    if empty > 1 and not await _had_trailers(body):
        raise ClientGone


async def _had_trailers(body: Body) -> bool:
    """Whether a chunked body ended with trailers rather than with its connection: the client then waits for the
    response.

    Only the end of the connection is visible here, which follows the end of a TLS session. So over TLS the trailers
    must also have been announced (RFC 9110 §6.6.2), and the end of the connection is waited for.
    """
    if body.scope.scheme == "https":
        if not body.are_trailers_announced:
            return False
        await asyncio.sleep(CLOSE_WITHIN_S)
    port = int(body.scope.server.rpartition(":")[2])
    return await threads.run_plain(is_peer_there, body.scope.client, port)


async def _at_once(body: Body, size_bytes: int) -> AsyncIterator[bytes]:
    """A short body in one read: each chunk would be another switch between the server's threads and ours."""
    with body.memory.while_it_comes(size_bytes) if body.memory else nullcontext():
        content = await body.protocol()
    yield content
