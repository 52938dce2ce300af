"""Draining: a worker that is being replaced stops accepting connections, while existing ones continue.

The listening sockets belong to the parent (`registry_core.wiring.workers`) and stay open there: a connection in their
queue is accepted by the new worker. The server owns them in this process, so they cannot be closed here: each
descriptor is replaced by a socket that nobody connects to.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import Final

from registry_core.machine.sockets import duplicate

SIGNAL: Final = signal.SIGUSR1
_DESCRIPTORS: Final = "/dev/fd"


def stop_accepting() -> None:
    """Replace every listening TCP socket of this process by one without clients."""
    for name in os.listdir(_DESCRIPTORS):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself, and non-sockets
            _deafen(int(name))


def _deafen(descriptor: int) -> None:
    with duplicate(descriptor) as known:
        is_tcp = known.family in {socket.AF_INET, socket.AF_INET6} and known.type == socket.SOCK_STREAM
        if not is_tcp or not known.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return
        family = known.family
    with socket.socket(family, socket.SOCK_STREAM) as deaf:
        deaf.setblocking(False)  # the runtime's next accept() must find nothing, not wait
        deaf.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        deaf.listen(1)
        os.dup2(deaf.fileno(), descriptor, inheritable=False)
