"""For how long the other side of a connection is waited for: neither at rest for ever, nor at a byte a minute."""

from __future__ import annotations


class Pace:
    """How long may be waited: `idle_s` without a byte, and on the whole as long as `rate` bytes a second move.

    Who was fast before may pause; who trickles uses that up. Only the time in which we wait counts.
    """

    __slots__ = ("_idle_s", "_rate", "left_s")

    def __init__(self, idle_s: float, rate: int) -> None:
        self._idle_s = self.left_s = idle_s
        self._rate = rate

    def count(self, waited_s: float, size_bytes: int) -> None:
        """So long was waited for so many bytes."""
        self.left_s = max(0.0, min(self._idle_s, self.left_s - waited_s + size_bytes / self._rate))
