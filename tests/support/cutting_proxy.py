"""A TCP proxy that loses connections on purpose: a client's network, as it is on a train.

It looks into nothing that it passes on, so it works for TLS as well.
"""

import contextlib
import socket
import threading

from tests.support.listening import Listener

READ_BYTES = 64 * 1024


class CuttingProxy(Listener):
    """Passes connections on to a port of this machine, and cuts `cuts` of them.

    A connection is cut as soon as `after_bytes` have passed in one direction: reset, without a word, as when a cable is
    pulled. When there were enough cuts, the connections live. Use it in a `with` statement.
    """

    def __init__(self, target_port: int, *, after_bytes: int, cuts: int) -> None:
        super().__init__()
        self._target_port = target_port
        self._after_bytes = after_bytes
        self._cuts_left = cuts
        self._lock = threading.Lock()
        self.cut_count = 0

    @property
    def host(self) -> str:
        """What stands before the repository's name in a reference that leads through the proxy."""
        return f"localhost:{self.port}"

    def accepted(self, client: socket.socket) -> None:
        """Connect it with the target."""
        try:
            server = socket.create_connection(("127.0.0.1", self._target_port))
        except OSError:
            _reset(client)
            return
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        passed = 0
        try:
            while data := source.recv(READ_BYTES):
                target.sendall(data)
                passed += len(data)
                if passed >= self._after_bytes and self._may_cut():
                    _reset(source)
                    _reset(target)
                    return
            target.shutdown(socket.SHUT_WR)
        except OSError:
            _reset(source)
            _reset(target)

    def _may_cut(self) -> bool:
        with self._lock:
            if self._cuts_left == 0:
                return False
            self._cuts_left -= 1
            self.cut_count += 1
            return True


def _reset(connection: socket.socket) -> None:
    """Close with RST instead of FIN (SO_LINGER of 0 seconds)."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
