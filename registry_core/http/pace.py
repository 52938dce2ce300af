"""How long the other side of a connection is waited for: bounds both silence and trickling."""

from __future__ import annotations


class Pace:
    """How long may be waited: `idle_s` without a byte, and in total as long as `rate` bytes per second arrive.

    A client that was fast may pause; one that trickles uses up the allowance. Only the time spent waiting counts.
    """

    __slots__ = ("_idle_s", "_rate", "left_s")

    def __init__(self, idle_s: float, rate: int) -> None:
        self._idle_s = self.left_s = idle_s
        self._rate = rate

    def count(self, waited_s: float, size_bytes: int) -> None:
        """Count the time that was waited for so many bytes."""
        self.left_s = max(0.0, min(self._idle_s, self.left_s - waited_s + size_bytes / self._rate))
