"""Packs results as MessagePack, for the parent to decode. The library that decodes them takes longer to import than
most jobs run."""

from __future__ import annotations


def pack(value: object) -> bytes:
    """None, booleans, integers of 64 bits, texts, bytes, and lists and dicts of those. Raises TypeError or
    OverflowError."""
    pieces: list[bytes] = []
    _add(value, pieces)
    return b"".join(pieces)


def _add(value: object, pieces: list[bytes]) -> None:
    if value is None:
        pieces.append(b"\xc0")
    elif isinstance(value, bool):
        pieces.append(b"\xc3" if value else b"\xc2")
    elif isinstance(value, int):
        pieces.append(b"\xd3" + value.to_bytes(8, "big", signed=True))
    elif isinstance(value, str):
        text = value.encode("utf-8", errors="replace")
        pieces += (b"\xdb", len(text).to_bytes(4, "big"), text)
    elif isinstance(value, bytes):
        pieces += (b"\xc6", len(value).to_bytes(4, "big"), value)
    elif isinstance(value, list | tuple):
        pieces += (b"\xdd", len(value).to_bytes(4, "big"))
        for item in value:
            _add(item, pieces)
    elif isinstance(value, dict):
        pieces += (b"\xdf", len(value).to_bytes(4, "big"))
        for key, item in value.items():
            _add(key, pieces)
            _add(item, pieces)
    else:
        raise TypeError(f"a result has no {type(value).__name__}")
