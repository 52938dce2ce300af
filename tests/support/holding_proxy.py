"""A TCP proxy that can cut one kind of connection, or hold it fast, while the others go on.

A connection is of that kind once its client has sent `marker`. It looks into what clients send, so not through TLS.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from types import TracebackType

from tests.support.listening import Listener

READ_BYTES = 64 * 1024


@dataclass
class _Pair:
    client: socket.socket
    server: socket.socket
    is_marked: bool = False
    may_pass: threading.Event = field(default_factory=threading.Event)


class HoldingProxy(Listener):
    """Passes connections on to a port of this machine. Use it in a `with` statement."""

    def __init__(self, target_port: int, *, marker: bytes) -> None:
        super().__init__()
        self._target_port = target_port
        self._marker = marker
        self._pairs: list[_Pair] = []
        self._is_holding = False

    def cut(self) -> int:
        """Reset the marked connections; how many there were. New ones are let through."""
        marked = [pair for pair in self._pairs if pair.is_marked]
        for pair in marked:
            self._pairs.remove(pair)
            for end in (pair.client, pair.server):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        return len(marked)

    def hold(self) -> None:
        """From now on nothing that marked connections send, old or new, arrives."""
        for pair in self._pairs:
            pair.may_pass.clear()
        self._is_holding = True

    def release(self) -> None:
        """Let all pass again."""
        self._is_holding = False
        for pair in self._pairs:
            pair.may_pass.set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        super().__exit__(kind, error, trace)

    def accepted(self, client: socket.socket) -> None:
        """Connect it with the target."""
        pair = _Pair(client, socket.create_connection(("127.0.0.1", self._target_port)))
        self._pairs.append(pair)
        threading.Thread(target=self._up, args=(pair,), daemon=True).start()
        threading.Thread(target=_pass_on, args=(pair.server, client), daemon=True).start()

    def _up(self, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while data := pair.client.recv(READ_BYTES):
                pair.is_marked = pair.is_marked or self._marker in data
                if pair.is_marked and self._is_holding:
                    pair.may_pass.wait()
                pair.server.sendall(data)
        _close(pair.server)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(READ_BYTES):
            target.sendall(data)
    _close(target)


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
