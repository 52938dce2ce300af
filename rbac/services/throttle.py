"""How long a client must wait after wrong passwords: counted in this process, per client and name, and per client.

The client's address is part of every key, so that guesses at `admin` from one address do not slow down others. The
counters need neither Postgres nor Valkey. An IPv6 client is its /64: one customer has that many addresses.

Many people may share one address. A client that tries many names is therefore not refused but paced: one attempt at a
time, in order of arrival, so that a neighbour's correct password gets its turn. A name that has signed in from the
address within the last day is not paced at all.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from registry_core.access import TooManyAttempts
from registry_core.http.callers import network_of

K = TypeVar("K")
V = TypeVar("V")
FREE_FAILURES: Final = 4
DELAY_MAX_S: Final = 300.0
FORGET_S: Final = 900.0
FREE_PER_CLIENT: Final = 30
"""Wrong passwords of one client within FORGET_S, over all names, before it is paced."""
FREE_PER_NAME: Final = 3
"""The increase of that limit for each name that signs in from the address within that time."""
PACE_S: Final = 0.5
PROVEN_S: Final = 86_400.0
_COUNTERS_MAX: Final = 50_000


@dataclass(slots=True)
class _Counter:
    failures: int
    failed_at: float
    blocked_until: float


@dataclass(slots=True)
class _Client:
    began_at: float
    failures: int = 0
    names: int = 0


@dataclass(frozen=True, slots=True)
class Lane:
    """The lane in which an attempt waits for its turn, and the least time between the beginnings of the lane's
    turns."""

    name: str
    pace_s: float


class Throttle:
    """Per name, growing delays: four failures are free, then 1 s, 2 s, 4 s … up to five minutes; forgotten after 15
    minutes. Per client, a pace."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counters: OrderedDict[tuple[str, str], _Counter] = OrderedDict()
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._proven: OrderedDict[tuple[str, str], float] = OrderedDict()

    def check(self, *, client: str, name: str) -> None:
        """Raises TooManyAttempts while this client must wait before it tries this name again."""
        with self._lock:
            counter = self._counters.get(_key(client, name))
        if counter is not None and (wait_s := counter.blocked_until - self._clock()) > 0:
            raise TooManyAttempts(math.ceil(wait_s))

    def lane(self, *, client: str, name: str) -> Lane:
        """The lane of an attempt of this client at this name."""
        network, now = network_of(client), self._clock()
        with self._lock:
            if now - self._proven.get(_key(client, name), -math.inf) < PROVEN_S:
                return Lane(f"{network} proven", 0.0)
            known = self._clients.get(network)
        if known is None or now - known.began_at > FORGET_S:
            return Lane(network, 0.0)
        is_paced = known.failures > FREE_PER_CLIENT + FREE_PER_NAME * known.names
        return Lane(network, PACE_S if is_paced else 0.0)

    def failed(self, *, client: str, name: str) -> None:
        """Count a wrong password."""
        now, key = self._clock(), _key(client, name)
        with self._lock:
            counter = self._counters.pop(key, None)
            if counter is None or now - counter.failed_at > FORGET_S:
                counter = _Counter(0, now, now)
            counter.failures += 1
            counter.failed_at = now
            counter.blocked_until = now + _delay_s(counter.failures)
            _keep(self._counters, key, counter)
            self._client(network_of(client), now).failures += 1

    def succeeded(self, *, client: str, name: str) -> None:
        """Forget this client's failures with this name."""
        now, key = self._clock(), _key(client, name)
        with self._lock:
            self._counters.pop(key, None)
            known = self._client(network_of(client), now)
            if self._proven.pop(key, -math.inf) < known.began_at:
                known.names += 1
            _keep(self._proven, key, now)

    def _client(self, network: str, now: float) -> _Client:
        known = self._clients.pop(network, None)
        if known is None or now - known.began_at > FORGET_S:
            known = _Client(now)
        _keep(self._clients, network, known)
        return known


def _keep(table: OrderedDict[K, V], key: K, value: V) -> None:
    """Store as the newest entry; the oldest are dropped when there are too many."""
    table[key] = value
    while len(table) > _COUNTERS_MAX:
        table.popitem(last=False)


def _delay_s(failures: int) -> float:
    over = failures - FREE_FAILURES
    return 0.0 if over <= 0 else min(DELAY_MAX_S, 2.0 ** min(over - 1, 16))


def _key(client: str, name: str) -> tuple[str, str]:
    return network_of(client), name.lower()[:255]
