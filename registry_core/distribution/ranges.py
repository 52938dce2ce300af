"""Ranges: in reads (RFC 9110 §14), and of uploaded chunks (OCI distribution-spec)."""

from __future__ import annotations

import re

_BYTES = "bytes="
_RANGE = re.compile(r"([0-9]{0,19})-([0-9]{0,19})")
_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?([0-9]{1,19})-([0-9]{1,19})(?:/(?:[0-9]{1,19}|\*))?")
RANGES_MAX = 1024
"""As many as containers/storage requests at once when it pulls a layer that it partly has."""
Range = tuple[int, int]
"""First and last byte, inclusive."""


class RangeNotSatisfiable(Exception):
    """The ranges are outside the content."""


def parse_ranges(header: str, size_bytes: int) -> list[Range] | None:
    """The requested ranges, in their order, overlapping ones merged; None if the whole content is to be sent.

    A malformed list, another unit, or more than RANGES_MAX ranges get the whole content (RFC 9110 §14.2 allows ignoring
    them). Adjacent ranges stay separate: clients count the parts. Raises RangeNotSatisfiable if none is within the
    content, also for a range that ends before it begins (§15.5.17).
    """
    unit, specifications = header.strip()[: len(_BYTES)], header.strip()[len(_BYTES) :]
    if unit.lower() != _BYTES:
        return None
    texts = [text for part in specifications.split(",") if (text := part.strip(" \t"))]
    matches = [_RANGE.fullmatch(text) for text in texts[: RANGES_MAX + 1]]
    if not 0 < len(matches) <= RANGES_MAX or any(match is None or match[0] == "-" for match in matches):
        return None
    found = [_resolved(match[1], match[2], size_bytes) for match in matches if match]
    ranges = [part for part in found if part is not None]
    if not ranges:
        raise RangeNotSatisfiable
    return ranges if len(ranges) == 1 else _disjoint(ranges)


def _resolved(first: str, last: str, size_bytes: int) -> Range | None:
    """The range within the content; None if it is outside. Raises RangeNotSatisfiable."""
    if not first:
        suffix = min(int(last), size_bytes)
        return (size_bytes - suffix, size_bytes - 1) if suffix else None
    if last and int(last) < int(first):
        raise RangeNotSatisfiable
    end = min(int(last), size_bytes - 1) if last else size_bytes - 1
    return (int(first), end) if int(first) < size_bytes else None


def _disjoint(ranges: list[Range]) -> list[Range]:
    """The ranges, each overlapping group merged, at the position of the group's first range (RFC 9110 §15.3.7.2)."""
    merged: list[tuple[int, int, int]] = []  # first byte, last byte, place
    for first, last, place in sorted((first, last, place) for place, (first, last) in enumerate(ranges)):
        if merged and first <= merged[-1][1]:
            begin, end, earlier = merged[-1]
            merged[-1] = begin, max(end, last), min(earlier, place)
        else:
            merged.append((first, last, place))
    return [(first, last) for first, last, _ in sorted(merged, key=lambda group: group[2])]


def parse_content_range(header: str) -> tuple[int, int] | None:
    """First and last byte (inclusive) of an uploaded chunk, `0-99` or `bytes 0-99/200`; None if it is malformed."""
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if match is None:
        return None
    first, last = int(match.group(1)), int(match.group(2))
    return (first, last) if first <= last else None
