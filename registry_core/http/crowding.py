"""Closes connections when there is hardly room for more.

A server at `max_connections` accepts no further ones, so connections that do nothing could block everybody. From three
quarters on, the addresses with the most connections lose idle ones, the longest idle first, until each has no more than
an equal part of those three quarters; and their busy connections end with the next response. An idle connection may be
closed at any time (RFC 9112 §9.3), so clients behind one address lose nothing. Connections that are kept busy with
almost no data (a head, a body or a response that trickles) follow a little later. Trusted proxies are exempt: their
connections belong to many clients.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from registry_core.config import Network, get_config
from registry_core.http.bodies import Body
from registry_core.http.callers import network_of
from registry_core.http.forwarded import is_within, parse_node
from registry_core.logs import get_logger
from registry_core.machine.sockets import Connection, connections

CROWDED: Final = 0.75
LOOK_EVERY_S: Final = 1.0
QUIET_S: Final = 1.0
STUCK_S: Final = 5.0
"""How long a client may be slow while others wait for a connection."""
BUSY_S: Final = 60.0
"""The same for a request that is not answered yet."""
SLOW_BYTES_S: Final = 16 << 10
"""Bytes per second below which a client counts as slow."""
_OPEN_FILES: Final = "/dev/fd"
_log = get_logger(__name__)


class Crowding:
    """Watches the connections of one worker."""

    def __init__(self) -> None:
        self.in_progress: dict[str, Body] = {}
        """The requests in progress, by peer (address and port)."""
        self._over: frozenset[str] = frozenset()
        self._watched: dict[str, Watched] = {}

    def must_end(self, peer: str) -> bool:
        """Whether the connection of `peer` is to end with its next response."""
        return bool(self._over) and network_of(peer) in self._over

    async def run(self) -> None:
        """Check once a second, for the life of the worker."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            limit = int(get_config().max_connections * CROWDED)
            try:
                await self._look(limit)
            except OSError as error:  # no file descriptor is left for the check, just when it matters
                _log.warning("the connections could not be looked at", reason=str(error))

    async def _look(self, limit: int) -> None:
        if len(os.listdir(_OPEN_FILES)) > limit:
            self._over = await asyncio.to_thread(self._make_room, limit)
        elif self._over or self._watched:
            self._over, self._watched = frozenset(), {}

    def _make_room(self, limit: int) -> frozenset[str]:
        """Close idle connections of the addresses with the most; returns these addresses."""
        config = get_config()
        by_network: dict[str, list[Connection]] = {}
        proxied = 0
        for connection in connections():
            if connection.local_port != config.port:
                continue
            if _is_proxy(connection.peer, config.trusted_proxies):
                proxied += 1
            else:
                by_network.setdefault(network_of(connection.peer), []).append(connection)
        # Connections of proxies are not available to others, who have a third of the limit in any case: probes come
        # directly.
        left = max(limit - proxied, limit // 3)
        part = equal_part({network: len(held) for network, held in by_network.items()}, left)
        over = frozenset(network for network, held in by_network.items() if len(held) > part)
        self._watch([connection for network in over for connection in by_network[network]])
        ended = Counter({network: self._end_idle(by_network[network], part) for network in over})
        if ended.total():
            _log.warning("connections ended to make room for others", connections=ended.total(), addresses=[*over][:10])
        return over

    def _watch(self, held: Collection[Connection]) -> None:
        now_s = time.monotonic()
        self._watched = {one.peer: self._watched.get(one.peer, Watched(one, now_s)).seen(one, now_s) for one in held}

    def _end_idle(self, held: Collection[Connection], part: int) -> int:
        idle = [one for one in held if is_idle(one, self.in_progress.get(one.peer), self._watched[one.peer])]
        chosen = sorted(idle, key=lambda connection: -connection.quiet_s)[: len(held) - part]
        for connection in chosen:
            connection.end()
        return len(chosen)


@dataclass(slots=True)
class Watched:
    """A connection and since when it moves less than SLOW_BYTES_S, as `slow_s`."""

    began: Connection
    began_at_s: float
    slow_s: float = field(default=0.0, init=False)

    def seen(self, connection: Connection, now_s: float) -> Watched:
        """The connection after another check."""
        moved_bytes = connection.moved_bytes - self.began.moved_bytes
        self.slow_s = now_s - self.began_at_s
        is_another = moved_bytes < 0
        if is_another or (self.slow_s >= STUCK_S and moved_bytes >= SLOW_BYTES_S * self.slow_s):
            return Watched(connection, now_s)
        return self


def is_idle(connection: Connection, asked: Body | None, watched: Watched) -> bool:
    """Whether a connection may be closed for others: nothing happens on it, or the client keeps it busy with very
    little data. `asked`: the body of the request in progress on it."""
    is_for_client = asked is None or asked.is_awaited or connection.is_sending
    if asked is None and not connection.is_sending and connection.quiet_s >= QUIET_S:
        return True
    return watched.slow_s >= (STUCK_S if is_for_client else BUSY_S)


def equal_part(held: Mapping[str, int], limit: int) -> int:
    """How many each may have so that all together have at most `limit`, where those with fewer keep what they have."""
    left, part = limit, limit
    for place, count in enumerate(sorted(held.values())):
        part = left // (len(held) - place)
        if count > part:
            return part
        left -= count
    return part if not held else max(held.values())


def _is_proxy(peer: str, trusted: Collection[Network]) -> bool:
    address = parse_node(peer) if trusted else None
    return address is not None and is_within(address, tuple(trusted))
