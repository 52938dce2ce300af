"""Is a history of one tag linearizable: could each read and write have happened at one moment between its begin and
end?

Every write puts another digest, and the registry's own history says in which order they took effect. Then it is
enough that this order agrees with the clock, that each read returns a write that had begun and was not yet replaced
for certain, and that reads that follow each other do not go back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Operation:
    """One acknowledged read or write, by the client's clock, in seconds."""

    begin_s: float
    end_s: float
    digest: str


def violations(*, order: Sequence[str], writes: Iterable[Operation], reads: Iterable[Operation]) -> list[str]:
    """What contradicts linearizability; empty when nothing does."""
    place = {digest: number for number, digest in enumerate(order)}
    written = {write.digest: write for write in writes}
    return [
        *_lost_writes(written, place),
        *_order_against_clock([written[digest] for digest in order if digest in written]),
        *_reads_out_of_time(reads, order, place, written),
        *_reads_going_back(reads, place),
    ]


def _lost_writes(written: dict[str, Operation], place: dict[str, int]) -> list[str]:
    return [f"{digest} was acknowledged and never took effect" for digest in written if digest not in place]


def _order_against_clock(writes: list[Operation]) -> list[str]:
    found, latest_begin_s = [], float("-inf")
    for write in writes:
        if write.end_s < latest_begin_s:
            found.append(f"{write.digest} took effect after a write that began when it had ended")
        latest_begin_s = max(latest_begin_s, write.begin_s)
    return found


def _reads_out_of_time(
    reads: Iterable[Operation], order: Sequence[str], place: dict[str, int], written: dict[str, Operation]
) -> list[str]:
    found = []
    for read in reads:
        number = place.get(read.digest)
        if number is None:
            found.append(f"{read.digest} was read and never written")
            continue
        write = written.get(read.digest)
        if write is not None and read.end_s < write.begin_s:
            found.append(f"{read.digest} was read before it was written")
        successor = written.get(order[number + 1]) if number + 1 < len(order) else None
        if successor is not None and successor.end_s < read.begin_s:
            found.append(f"{read.digest} was read after {successor.digest} had replaced it")
    return found


def _reads_going_back(reads: Iterable[Operation], place: dict[str, int]) -> list[str]:
    found: list[str] = []
    ended = sorted((read for read in reads if read.digest in place), key=lambda read: read.end_s)
    begun = sorted(ended, key=lambda read: read.begin_s)
    newest, waiting = -1, 0
    for read in begun:
        while waiting < len(ended) and ended[waiting].end_s < read.begin_s:
            newest = max(newest, place[ended[waiting].digest])
            waiting += 1
        if place[read.digest] < newest:
            found.append(f"{read.digest} was read after something newer had been read")
    return found
