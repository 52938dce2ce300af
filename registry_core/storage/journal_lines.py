"""The lines of a store's journal: which digest the database has under which key, and which keys were withdrawn.

A line is written after the transaction that made the blob. A key in the journal was therefore in a database, and a
database without its digest is older than the store, or another one. Lines without a time are from releases that wrote
them before the transaction: such a push may have died in between.
"""

from __future__ import annotations

import json
import time

import msgspec

from registry_core.digests import Digest


class JournalLine(msgspec.Struct, frozen=True):
    """One line: a blob (`digest`, `key`), or a key that is `withdrawn`. `at`: seconds since the epoch, or 0."""

    digest: str = ""
    key: str = ""
    withdrawn: str = ""
    at: float = 0.0


_decoder = msgspec.json.Decoder(JournalLine)


def blob_line(digest: Digest, key: str, size_bytes: int) -> str:
    """The line of a blob that the database has."""
    return json.dumps({"digest": str(digest), "key": key, "size": size_bytes, "at": _now_s()}) + "\n"


def withdrawn_line(key: str, *, known_at_s: float) -> str:
    """The line that withdraws a key. `known_at_s`: the time of the latest line that it overrides, which a fast clock
    may have put into the future."""
    return json.dumps({"withdrawn": key, "at": max(_now_s(), known_at_s)}) + "\n"


def parse_line(line: bytes) -> JournalLine | None:
    """None for an incomplete line. Whatever was written after an incomplete one is on the same line."""
    try:
        return _decoder.decode(line[max(0, line.rfind(b"{")) :])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _now_s() -> float:
    return round(time.time(), 3)
