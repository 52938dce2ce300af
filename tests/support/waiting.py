"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable

POLL_S = 0.02


def wait_until(condition: Callable[[], bool], *, what: str, within_s: float = 30) -> None:
    """Return as soon as `condition()` is true. Raises TimeoutError naming `what` when it is not true `within_s`."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not so within {within_s} s")
        time.sleep(POLL_S)
