"""The figures of the caches, for operators: SIGUSR2 to `portolan serve` has each worker log them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Final

from registry_core import caches
from registry_core.logs import get_logger

SIGNAL: Final = signal.SIGUSR2
_log = get_logger("portolan.caches")


def log_caches() -> None:
    """Log what each cache of this process holds and may hold, in bytes, and its hits and misses so far."""
    for figures in caches.statistics():
        _log.info("cache", **asdict(figures))


def forward(workers: Callable[[], Iterable[int]]) -> None:
    """Have this process send the signal on to its workers, whose process ids `workers` returns."""

    def send(_number: int, _frame: object) -> None:
        for pid in workers():
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, SIGNAL)

    signal.signal(SIGNAL, send)
