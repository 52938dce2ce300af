"""How long a client must wait after wrong passwords: counted per client and name, in this process.

The client's address is part of the key, so that a stranger who guesses at `admin` slows down nobody but himself. The
counters need neither Postgres nor Valkey. An IPv6 client is its /64: one customer has that many addresses.
"""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from registry_core.access import TooManyAttempts

FREE_FAILURES: Final = 4
DELAY_MAX_S: Final = 300.0
FORGET_S: Final = 900.0
_COUNTERS_MAX: Final = 50_000


@dataclass(slots=True)
class _Counter:
    failures: int
    failed_at: float
    blocked_until: float


class Throttle:
    """Growing delays: four failures are free, then 1 s, 2 s, 4 s … up to five minutes; forgotten after 15 minutes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counters: OrderedDict[tuple[str, str], _Counter] = OrderedDict()

    def check(self, *, client: str, name: str) -> None:
        """Raises TooManyAttempts while this client must wait before it tries this name again."""
        with self._lock:
            counter = self._counters.get(_key(client, name))
        if counter is not None and (wait_s := counter.blocked_until - self._clock()) > 0:
            raise TooManyAttempts(math.ceil(wait_s))

    def failed(self, *, client: str, name: str) -> None:
        """Count a wrong password."""
        now = self._clock()
        with self._lock:
            counter = self._counters.pop(_key(client, name), None)
            if counter is None or now - counter.failed_at > FORGET_S:
                counter = _Counter(0, now, now)
            counter.failures += 1
            counter.failed_at = now
            counter.blocked_until = now + _delay_s(counter.failures)
            self._counters[_key(client, name)] = counter
            while len(self._counters) > _COUNTERS_MAX:
                self._counters.popitem(last=False)

    def succeeded(self, *, client: str, name: str) -> None:
        """Forget what this client got wrong before."""
        with self._lock:
            self._counters.pop(_key(client, name), None)


def _delay_s(failures: int) -> float:
    over = failures - FREE_FAILURES
    return 0.0 if over <= 0 else min(DELAY_MAX_S, 2.0 ** min(over - 1, 16))


def _key(client: str, name: str) -> tuple[str, str]:
    return _network(client), name.lower()[:255]


def _network(client: str) -> str:
    try:
        address = ipaddress.ip_address(client.strip("[]"))
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)
