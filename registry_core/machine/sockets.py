"""The TCP connections of this process. The server does not hand them out, so they are found among its open files."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_DESCRIPTORS: Final = "/dev/fd"
_FAMILIES: Final = frozenset({socket.AF_INET, socket.AF_INET6})
# Of Linux's `struct tcp_info`: tcpi_state, and where the 32-bit numbers lie that are looked at.
_ESTABLISHED: Final = 1
_UNACKED, _LAST_SENT_MS, _LAST_RECEIVED_MS, _UNSENT_BYTES, _INFO_BYTES = 24, 44, 52, 144, 148
# The same for 64-bit numbers: tcpi_bytes_acked and tcpi_bytes_received.
_TAKEN_BYTES, _RECEIVED_BYTES = 120, 128
_TCP_INFO: Final[int] = getattr(socket, "TCP_INFO", 0)


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection as it is now: its two ends as `address:port`, and how long nothing has moved on it, in seconds.

    `is_open`: the other end has not closed it. `is_sending`: there are bytes that it has not taken yet. `moved_bytes`:
    how many it has sent and taken since the beginning.
    """

    descriptor: int
    peer: str
    local: str
    is_open: bool
    is_sending: bool
    quiet_s: float
    moved_bytes: int

    @property
    def local_port(self) -> int:
        return int(self.local.rpartition(":")[2])

    def end(self) -> None:
        """Close it, if it is still the one that it was. Whoever serves it notices."""
        with contextlib.suppress(OSError), duplicate(self.descriptor) as known:
            if _written(known.getpeername()) == self.peer:
                known.shutdown(socket.SHUT_RDWR)


def is_peer_there(peer: str, port: int) -> bool:
    """Whether the other end of the connection from `peer` (address and port) to our `port` has not closed it.

    False as well where the system does not tell.
    """
    return any(
        connection.peer == peer and connection.local_port == port and connection.is_open for connection in connections()
    )


def local_end(peer: str, port: int) -> str | None:
    """The address and port at which the connection from `peer` to our `port` came in; None where that is not told."""
    found = (one.local for one in connections() if one.peer == peer and one.local_port == port)
    return next(found, None)


def connections() -> Iterator[Connection]:
    """Every TCP connection of this process; none where the system does not tell how they are."""
    for name in os.listdir(_DESCRIPTORS) if _TCP_INFO else ():
        with contextlib.suppress(OSError):  # the descriptor of the listing itself, what is no socket, what has ended
            connection = _connection(int(name))
            if connection is not None:
                yield connection


def _connection(descriptor: int) -> Connection | None:
    with duplicate(descriptor) as known:
        if known.family not in _FAMILIES or known.type != socket.SOCK_STREAM:
            return None
        info = known.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _INFO_BYTES)
        peer, local = _written(known.getpeername()), _written(known.getsockname())
    if len(info) < _INFO_BYTES:
        return None
    sent_ms, received_ms = _number(info, _LAST_SENT_MS), _number(info, _LAST_RECEIVED_MS)
    return Connection(
        descriptor,
        peer,
        local,
        is_open=info[0] == _ESTABLISHED,
        is_sending=_number(info, _UNACKED) > 0 or _number(info, _UNSENT_BYTES) > 0,
        quiet_s=min(sent_ms, received_ms) / 1000,
        moved_bytes=_number(info, _TAKEN_BYTES, "=Q") + _number(info, _RECEIVED_BYTES, "=Q"),
    )


@contextlib.contextmanager
def duplicate(descriptor: int) -> Iterator[socket.socket]:
    """The socket behind a descriptor, under another one, which is closed at the end. Raises OSError when it is none."""
    copy = os.dup(descriptor)
    try:
        known = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise
    with known:
        yield known


def _number(info: bytes, offset: int, form: str = "=I") -> int:
    number: int = struct.unpack_from(form, info, offset)[0]
    return number


def _written(name: tuple[str, int]) -> str:
    host, port = name[0].partition("%")[0], name[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
