"""Content digests: `sha256:<hex>` and `sha512:<hex>` as text, and their stored form as bytes.

A stored digest is one byte for the algorithm, then the hash (33 or 65 bytes): half the size of the text, sorted by
algorithm first. OCI image-spec, "Digests".
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

ALGORITHMS: Final = {"sha256": 1, "sha512": 2}
_NAMES: Final = {number: name for name, number in ALGORITHMS.items()}
_LENGTHS: Final = {"sha256": 64, "sha512": 128}
_GRAMMAR: Final = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[A-Za-z0-9=_-]+")
_HEX: Final = re.compile(r"[0-9a-f]+")


class DigestError(ValueError):
    """Not a digest, or one with an unsupported algorithm; the message says which."""


class Digest:
    """A parsed digest: immutable, hashable, equal by value."""

    __slots__ = ("_text", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._text = f"{_NAMES[raw[0]]}:{raw[1:].hex()}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        """The digest in `text`. Raises DigestError."""
        algorithm, _, encoded = text.partition(":")
        if _GRAMMAR.fullmatch(text) is None:
            raise DigestError("not a digest: expected algorithm:hex, for example sha256:…")
        if algorithm not in ALGORITHMS:
            raise DigestError(f"digest algorithm {algorithm!r} is not supported: use sha256 or sha512")
        if len(encoded) != _LENGTHS[algorithm] or _HEX.fullmatch(encoded) is None:
            raise DigestError(f"a {algorithm} digest has {_LENGTHS[algorithm]} lower-case hexadecimal characters")
        return cls(bytes([ALGORITHMS[algorithm]]) + bytes.fromhex(encoded))

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Digest:
        """The digest of `content`."""
        return cls(bytes([ALGORITHMS[algorithm]]) + hashlib.new(algorithm, content).digest())

    @property
    def algorithm(self) -> str:
        return _NAMES[self.raw[0]]

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Digest({self._text})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Digest) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __lt__(self, other: Digest) -> bool:
        return self.raw < other.raw
