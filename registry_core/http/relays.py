"""Relayed bodies: a thread writes them into a pipe, and the server sends the pipe as if it were a file.

The server's own stream interface has no back-pressure, so a slow client would fill the memory (see
docs/adr/0002-server-interface.md). A pipe blocks its writer. Each relay occupies a thread here and one of the server's,
so their number is bounded and shared fairly, and one whose client hardly reads is ended: sooner while others wait for a
place.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import structlog
from granian._granian import RSGIHTTPProtocol, RSGIProtocolClosed

from registry_core.http import callers
from registry_core.http.fairness import Turns
from registry_core.http.messages import Relay, Response
from registry_core.http.pace import Pace
from registry_core.storage.interface import StorageError

RELAYS_MAX = 32
PIPE_BYTES = 1 << 20
STALL_S = 60.0
RATE_MIN_BYTES = 1024
"""Bytes per second below which a client's relay is ended, once STALL_S of waiting are used up."""
BRISK_STALL_S = 5.0
BRISK_RATE_BYTES = 32 << 10
"""The same while others wait for a place: a few slow clients would otherwise occupy all places for hours."""
LOOK_EVERY_S = 1.0
T = TypeVar("T")
_pool = ThreadPoolExecutor(RELAYS_MAX, thread_name_prefix="relay")
_turns = Turns(RELAYS_MAX)
_log = structlog.get_logger(__name__)


async def gather(response: Response) -> None:
    """Read the body of a short relay into memory: it would fit into the pipe, so nothing would show whether the server
    has opened that. Raises what reading it raises, while an error response is still possible."""
    relay, caller = response.relay, callers.current()
    if relay is None or relay.length_bytes > PIPE_BYTES:
        return
    await _turns.enter(caller)
    try:
        response.body, response.relay = await _in_thread(b"".join, relay.chunks), None
    finally:
        _turns.leave(caller)


async def send(response: Response, relay: Relay, protocol: RSGIHTTPProtocol) -> int:
    """Send the response; returns how many bytes of its body were handed over.

    A relay that fails on the way ends the connection early, so that the client sees that its body is incomplete.
    """
    caller = callers.current()
    await _turns.enter(caller)
    try:
        return await _through_pipe(response, relay, protocol)
    except RSGIProtocolClosed:
        return 0
    finally:
        _turns.leave(caller)


async def _through_pipe(response: Response, relay: Relay, protocol: RSGIHTTPProtocol) -> int:
    pipe = _Pipe()
    try:
        protocol.response_file(response.status, response.headers, pipe.path)
    except RSGIProtocolClosed:
        pipe.close()
        raise
    return await _in_thread(pipe.fill, relay.chunks)


async def _in_thread(function: Callable[[Iterator[bytes]], T], chunks: Iterator[bytes]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_pool, function, chunks)


class _Pipe:
    """A pipe that the server opens by its path and this process fills."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        with suppress(PermissionError):  # the pipe stays smaller: slower, but correct
            fcntl.fcntl(self._write_fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._poll = select.poll()
        self._poll.register(self._write_fd, select.POLLOUT)
        self._pace = Pace(STALL_S, RATE_MIN_BYTES)
        self._brisk = Pace(BRISK_STALL_S, BRISK_RATE_BYTES)

    @property
    def path(self) -> str:
        return f"/proc/self/fd/{self._read_fd}"

    def fill(self, chunks: Iterator[bytes]) -> int:
        """Write the chunks as the client reads them; returns the number of bytes. Closes the pipe."""
        sent_bytes = 0
        try:
            for chunk in chunks:
                self._write(chunk)
                sent_bytes += len(chunk)
        except (BrokenPipeError, TimeoutError):
            pass  # the client has disconnected, or hardly reads
        except StorageError as error:
            _log.warning("a blob broke off on its way to a client", sent_bytes=sent_bytes, reason=str(error))
        finally:
            self.close()
        return sent_bytes

    def close(self) -> None:
        """Close both ends; a server that reads comes to the end."""
        os.close(self._write_fd)
        self._close_read_end()

    def _write(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            try:
                written = os.write(self._write_fd, view)
                self._count(0.0, written)
                view = view[written:]
            except BlockingIOError:
                self._wait()
                # A full pipe has room again, so the server reads it: from now on only the server's end keeps it open,
                # and writing fails when the server closes that.
                self._close_read_end()

    def _wait(self) -> None:
        """Wait until there is room. Raises TimeoutError."""
        is_ready = False
        while not is_ready:
            is_too_slow = self._brisk.left_s == 0 and _turns.is_somebody_waiting
            if is_too_slow or self._pace.left_s == 0:
                raise TimeoutError
            began_s = time.monotonic()
            is_ready = bool(self._poll.poll(min(LOOK_EVERY_S, self._pace.left_s) * 1000))
            self._count(time.monotonic() - began_s, 0)

    def _count(self, waited_s: float, size_bytes: int) -> None:
        for pace in (self._pace, self._brisk):
            pace.count(waited_s, size_bytes)

    def _close_read_end(self) -> None:
        if self._read_fd >= 0:
            os.close(self._read_fd)
            self._read_fd = -1
