"""Whether the broker of the jobs is usable: it answers and accepts writes."""

from __future__ import annotations

from typing import Final

import redis

PROBE_KEY: Final = "portolan:probe"
_PROBE_TTL_S: Final = 60


def require_broker(url: str, *, timeout_s: int) -> None:
    """Raises redis.RedisError if the Valkey at `url` does not accept a key: unreachable, full, a replica, or without
    write permission. A ping would detect only the first."""
    with redis.Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s) as client:
        client.set(PROBE_KEY, b"", ex=_PROBE_TTL_S)
