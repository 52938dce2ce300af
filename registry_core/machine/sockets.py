"""The TCP connections of this process, found among its open files, because the server does not expose them."""

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
# Offsets in Linux's `struct tcp_info`: tcpi_state, and the 32-bit numbers that are read.
_ESTABLISHED: Final = 1
_UNACKED, _LAST_SENT_MS, _LAST_RECEIVED_MS, _UNSENT_BYTES, _INFO_BYTES = 24, 44, 52, 144, 148
# The same for 64-bit numbers: tcpi_bytes_acked and tcpi_bytes_received.
_TAKEN_BYTES, _RECEIVED_BYTES = 120, 128
_TCP_INFO: Final[int] = getattr(socket, "TCP_INFO", 0)


@dataclass(frozen=True, slots=True)
class Connection:
    """The state of a connection: its two ends as `address:port`, and for how many seconds no bytes have moved.

    `is_open`: the other end has not closed it. `is_sending`: the other end has not accepted all bytes yet.
    `moved_bytes`: the total of bytes in both directions.
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
        """Close it, if the descriptor still has the same connection. The server notices."""
        with contextlib.suppress(OSError), duplicate(self.descriptor) as known:
            if _written(known.getpeername()) == self.peer:
                known.shutdown(socket.SHUT_RDWR)


def is_peer_there(peer: str, port: int) -> bool:
    """Whether the other end of the connection from `peer` (address and port) to our `port` has not closed it.

    False also if the system does not provide this.
    """
    return any(
        connection.peer == peer and connection.local_port == port and connection.is_open for connection in connections()
    )


def local_end(peer: str, port: int) -> str | None:
    """The local address and port of the connection from `peer` to our `port`; None if that is not available."""
    found = (one.local for one in connections() if one.peer == peer and one.local_port == port)
    return next(found, None)


def connections() -> Iterator[Connection]:
    """Every TCP connection of this process; none if the system does not provide their state."""
    for name in os.listdir(_DESCRIPTORS) if _TCP_INFO else ():
        with contextlib.suppress(OSError):  # the descriptor of the listing itself, non-sockets, closed ones
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
    """A duplicate of a socket's descriptor, which is closed at the end. Raises OSError if it is not a socket."""
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
