"""A worker that is being replaced stops taking new connections, while those that it has go on.

The sockets that it listens on belong to the parent (`registry_core.wiring.workers`) and live on there: a connection
that waits in one of them is accepted by the new worker. They are the server's, so they cannot be closed here: each
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
    """Replace every listening TCP socket of this process by a deaf one."""
    for name in os.listdir(_DESCRIPTORS):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself, and what is no socket
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
