"""Ranges: of what a client asks to read (RFC 9110 §14), and of the chunks that it uploads (OCI distribution-spec)."""

from __future__ import annotations

import re

_BYTES_RANGE = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})")
_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?([0-9]{1,19})-([0-9]{1,19})(?:/(?:[0-9]{1,19}|\*))?")


class RangeNotSatisfiable(Exception):
    """The range lies outside of what there is."""


def parse_range(header: str, size_bytes: int) -> tuple[int, int] | None:
    """First and last byte (inclusive) of the one range asked for; None when the whole is to be sent.

    A malformed range, another unit, or several ranges are answered with the whole (RFC 9110 §14.2 allows to ignore
    them). Raises RangeNotSatisfiable, also for a range that ends before it begins (§15.5.17).
    """
    match = _BYTES_RANGE.fullmatch(header.strip())
    if match is None or match.group(1) == match.group(2) == "":
        return None
    if match.group(1) == "":
        suffix = int(match.group(2))
        if suffix == 0 or size_bytes == 0:
            raise RangeNotSatisfiable
        return max(0, size_bytes - suffix), size_bytes - 1
    first = int(match.group(1))
    last = min(int(match.group(2)), size_bytes - 1) if match.group(2) else size_bytes - 1
    if first >= size_bytes or last < first:
        raise RangeNotSatisfiable
    return first, last


def parse_content_range(header: str) -> tuple[int, int] | None:
    """First and last byte (inclusive) of an uploaded chunk, `0-99` or `bytes 0-99/200`; None when it is malformed."""
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if match is None:
        return None
    first, last = int(match.group(1)), int(match.group(2))
    return (first, last) if first <= last else None
