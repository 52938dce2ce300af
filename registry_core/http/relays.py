"""Bodies that pass through us: a thread writes them into a pipe, and the server sends the pipe as if it were a file.

The server's own stream interface has no back-pressure, so a slow client would fill our memory (see
docs/adr/0002-server-interface.md). A pipe holds back its writer. Each relay holds a thread here and one of the
server's, so their number is bounded, and one whose client does not read for a while is given up.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import structlog
from granian._granian import RSGIHTTPProtocol, RSGIProtocolClosed

from registry_core.http.messages import Relay, Response
from registry_core.storage.interface import StorageError

RELAYS_MAX = 32
PIPE_BYTES = 1 << 20
STALL_S = 60
_pool = ThreadPoolExecutor(RELAYS_MAX, thread_name_prefix="relay")
_free = asyncio.Semaphore(RELAYS_MAX)
_log = structlog.get_logger(__name__)


async def send(response: Response, relay: Relay, protocol: RSGIHTTPProtocol) -> int:
    """Send the response; how many bytes of its body were handed over.

    A relay that fails on the way ends the connection early, so that the client sees that its body is not whole.
    """
    run = asyncio.get_running_loop().run_in_executor
    async with _free:
        try:
            if relay.length_bytes <= PIPE_BYTES:  # it would fit, and nothing would tell that the server has opened it
                protocol.response_bytes(response.status, response.headers, await run(_pool, b"".join, relay.chunks))
                return relay.length_bytes
            pipe = _Pipe()
            try:
                protocol.response_file(response.status, response.headers, pipe.path)
            except RSGIProtocolClosed:
                pipe.close()
                raise
            return await run(_pool, pipe.fill, relay.chunks)
        except RSGIProtocolClosed:
            return 0


class _Pipe:
    """A pipe that the server opens by its path and we fill."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        with suppress(PermissionError):  # it stays smaller then: slower, not wrong
            fcntl.fcntl(self._write_fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._poll = select.poll()
        self._poll.register(self._write_fd, select.POLLOUT)

    @property
    def path(self) -> str:
        return f"/proc/self/fd/{self._read_fd}"

    def fill(self, chunks: Iterator[bytes]) -> int:
        """Write the chunks as the client takes them; how many bytes. Closes the pipe."""
        sent_bytes = 0
        try:
            for chunk in chunks:
                self._write(chunk)
                sent_bytes += len(chunk)
        except (BrokenPipeError, TimeoutError):
            pass  # the client is gone, or as good as gone
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
                view = view[os.write(self._write_fd, view) :]
            except BlockingIOError:
                if not self._poll.poll(STALL_S * 1000):
                    raise TimeoutError from None
                # A full pipe has room again, so the server reads it: from now on only the server's end counts, and
                # when it closes that, we are told.
                self._close_read_end()

    def _close_read_end(self) -> None:
        if self._read_fd >= 0:
            os.close(self._read_fd)
            self._read_fd = -1
