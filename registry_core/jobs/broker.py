"""Whether the broker of the jobs can be used: it answers, and takes what is sent to it."""

from __future__ import annotations

from typing import Final

import redis

PROBE_KEY: Final = "portolan:probe"
_PROBE_TTL_S: Final = 60


def require_broker(url: str, *, timeout_s: int) -> None:
    """Raises redis.RedisError when the Valkey at `url` does not take a key: it is away, full, a replica, or not ours to
    write. A ping is answered by all but the first."""
    with redis.Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s) as client:
        client.set(PROBE_KEY, b"", ex=_PROBE_TTL_S)
