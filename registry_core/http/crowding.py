"""Who gives way when there is hardly room for more connections.

A server that keeps `max_connections` accepts no further ones, so connections that do nothing would keep everybody out.
From three quarters of them on, the addresses that hold the most lose connections on which nothing happens, longest
quiet first, until each holds no more than an equal part of those three quarters; and connections of theirs that are in
use end with their next response. An idle connection may end at any time (RFC 9112 §9.3), so clients behind one address
lose nothing by that. Proxies that are trusted are left alone: their connections are those of many.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from registry_core.config import Network, get_config
from registry_core.http.callers import network_of
from registry_core.http.forwarded import is_within, parse_node
from registry_core.logs import get_logger
from registry_core.machine.sockets import Connection, connections

CROWDED: Final = 0.75
LOOK_EVERY_S: Final = 1.0
QUIET_S: Final = 1.0
STALLED_S: Final = 60.0
_OPEN_FILES: Final = "/dev/fd"
_log = get_logger(__name__)


class Crowding:
    """Watches the connections of one worker."""

    def __init__(self) -> None:
        self.in_progress: set[str] = set()
        """The peers (address and port) whose requests are being answered."""
        self._over: frozenset[str] = frozenset()

    def must_end(self, peer: str) -> bool:
        """Whether the connection with `peer` is to end with its next response."""
        return bool(self._over) and network_of(peer) in self._over

    async def run(self) -> None:
        """Look once a second, as long as the worker lives."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            limit = int(get_config().max_connections * CROWDED)
            try:
                is_crowded = len(os.listdir(_OPEN_FILES)) > limit
                self._over = await asyncio.to_thread(self._make_room, limit) if is_crowded else frozenset()
            except OSError as error:  # no descriptor is left to look with, just when looking matters
                _log.warning("the connections could not be looked at", reason=str(error))

    def _make_room(self, limit: int) -> frozenset[str]:
        """End quiet connections of the addresses that hold the most; which addresses these are."""
        config = get_config()
        by_network: dict[str, list[Connection]] = {}
        for connection in connections():
            if connection.local_port == config.port and not _is_proxy(connection.peer, config.trusted_proxies):
                by_network.setdefault(network_of(connection.peer), []).append(connection)
        part = equal_part({network: len(held) for network, held in by_network.items()}, limit)
        over = frozenset(network for network, held in by_network.items() if len(held) > part)
        ended = Counter({network: self._end_quiet(by_network[network], part) for network in over})
        if ended.total():
            _log.warning("connections ended to make room for others", connections=ended.total(), addresses=[*over][:10])
        return over

    def _end_quiet(self, held: Collection[Connection], part: int) -> int:
        quiet = quiet_ones(held, self.in_progress)[: len(held) - part]
        for connection in quiet:
            connection.end()
        return len(quiet)


def equal_part(held: Mapping[str, int], limit: int) -> int:
    """How many each may hold so that all together hold at most `limit`, when those that hold less keep what they
    have."""
    left, part = limit, limit
    for place, count in enumerate(sorted(held.values())):
        part = left // (len(held) - place)
        if count > part:
            return part
        left -= count
    return part if not held else max(held.values())


def quiet_ones(held: Iterable[Connection], in_progress: Collection[str]) -> list[Connection]:
    """The connections on which nothing happens, the longest quiet first: idle ones, heads that do not go on, and
    responses that nobody reads."""
    quiet = [
        connection
        for connection in held
        if connection.peer not in in_progress
        and connection.quiet_s >= (STALLED_S if connection.is_sending else QUIET_S)
    ]
    return sorted(quiet, key=lambda connection: -connection.quiet_s)


def _is_proxy(peer: str, trusted: Collection[Network]) -> bool:
    address = parse_node(peer) if trusted else None
    return address is not None and is_within(address, tuple(trusted))
