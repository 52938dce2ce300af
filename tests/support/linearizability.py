"""Is a history of one tag linearizable: could each read and write have happened at one moment between its begin and
end? And if not, for how long was somebody told what was no longer so?

Every put writes another digest, deletes are numbered (`GONE#1`, `GONE#2`, …; who reads 404 was told `GONE`), and the
registry's own history says in which order they took effect. Then it is enough that this order agrees with the clock,
that each read returns a write that had begun and was not yet replaced for certain, and that reads that follow each
other do not go back.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

GONE = "gone"


@dataclass(frozen=True, slots=True)
class Operation:
    """One acknowledged read or write, by the client's clock, in seconds. `digest` may be one of the deletes."""

    begin_s: float
    end_s: float
    digest: str


def violations(*, order: Sequence[str], writes: Iterable[Operation], reads: Iterable[Operation]) -> list[str]:
    """What contradicts linearizability; empty when nothing does."""
    history = _History(order, {write.digest: write for write in writes})
    return [*history.lost_writes(), *history.against_clock(), *history.wrong_reads(reads)]


def staleness_s(*, order: Sequence[str], writes: Iterable[Operation], reads: Iterable[Operation]) -> list[float]:
    """For each read, how long before it began what it returned had been replaced for certain; 0: it was fresh."""
    history = _History(order, {write.digest: write for write in writes})
    return [min((history.stale_for_s(read, place) for place in history.places(read)), default=0) for read in reads]


class _History:
    """The order in which writes took effect, and the writes that we know the times of."""

    def __init__(self, order: Sequence[str], written: dict[str, Operation]) -> None:
        self._order = order
        self._written = written
        self._places: dict[str, list[int]] = {}
        for number, name in enumerate(order):
            self._places.setdefault(name.partition("#")[0], []).append(number)

    def places(self, read: Operation) -> list[int]:
        """The places in the order that the read may have seen, whatever the clock says."""
        return self._places.get(read.digest, [])

    def stale_for_s(self, read: Operation, place: int) -> float:
        """How long before the read the write at `place` had been replaced for certain."""
        successor = self._written.get(self._order[place + 1]) if place + 1 < len(self._order) else None
        return max(0.0, read.begin_s - successor.end_s) if successor else 0.0

    def lost_writes(self) -> list[str]:
        known = set(self._order)
        return [f"{name} was acknowledged and never took effect" for name in self._written if name not in known]

    def against_clock(self) -> list[str]:
        found, latest_begin_s = [], float("-inf")
        for write in (self._written[name] for name in self._order if name in self._written):
            if write.end_s < latest_begin_s:
                found.append(f"{write.digest} took effect after a write that began when it had ended")
            latest_begin_s = max(latest_begin_s, write.begin_s)
        return found

    def wrong_reads(self, reads: Iterable[Operation]) -> list[str]:
        """Reads out of time, and those that go back behind a read that had ended before they began."""
        found: list[str] = []
        ended: list[tuple[float, int]] = []  # a heap: reads that were judged, by their end
        newest = -1
        for read in sorted(reads, key=lambda read: read.begin_s):
            while ended and ended[0][0] < read.begin_s:
                newest = max(newest, heapq.heappop(ended)[1])
            timely = [place for place in self.places(read) if self._is_timely(read, place)]
            # The earliest place that it can have seen: a later one would only forbid more.
            place = next((place for place in timely if place >= newest), None)
            if place is not None:
                heapq.heappush(ended, (read.end_s, place))
            elif timely:
                found.append(f"{read.digest} was read after something newer had been read")
            else:
                found.append(self._why_untimely(read))
        return found

    def _is_timely(self, read: Operation, place: int) -> bool:
        write = self._written.get(self._order[place])
        return (write is None or write.begin_s <= read.end_s) and self.stale_for_s(read, place) == 0

    def _why_untimely(self, read: Operation) -> str:
        if not self.places(read):
            return f"{read.digest} was read and never written"
        stale_s = min(self.stale_for_s(read, place) for place in self.places(read))
        when = f"{stale_s * 1000:.1f} ms after it was replaced" if stale_s else "before it was written"
        return f"{read.digest} was read {when}"
