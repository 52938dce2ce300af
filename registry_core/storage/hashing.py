"""A hash whose state can be exported and restored, so that an upload can move between processes.

Python's hashlib cannot export its state; OpenSSL's SHA contexts are plain memory. If libcrypto cannot be loaded, the
state is unknown (None), and the next process reads the bytes again.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import hashlib
from typing import Protocol


class RunningHash(Protocol):
    """A hash over bytes that are still arriving."""

    def update(self, chunk: bytes | bytearray, /) -> None: ...
    def digest(self) -> bytes: ...
    def export(self) -> bytes | None: ...


# Sizes of SHA256_CTX and SHA512_CTX in openssl/sha.h, unchanged since OpenSSL 0.9.8, and of the hashes they give.
_CONTEXT_BYTES = {"sha256": 112, "sha512": 216}
_HASH_BYTES = {"sha256": 32, "sha512": 64}


@functools.cache
def _libcrypto() -> ctypes.CDLL | None:
    for name in ("libcrypto.so.3", ctypes.util.find_library("crypto")):
        try:
            library = ctypes.CDLL(name) if name else None
        except OSError:
            continue
        if library is not None and hasattr(library, "SHA256_Init"):
            return library
    return None


class _ExportableHash:
    """SHA-2 on OpenSSL's own context; ctypes releases the interpreter's lock."""

    def __init__(self, library: ctypes.CDLL, algorithm: str, state: bytes | None) -> None:
        prefix = algorithm.upper()
        self._update = getattr(library, f"{prefix}_Update")
        self._final = getattr(library, f"{prefix}_Final")
        self._hash_bytes = _HASH_BYTES[algorithm]
        self._context = ctypes.create_string_buffer(
            state or bytes(_CONTEXT_BYTES[algorithm]), _CONTEXT_BYTES[algorithm]
        )
        if state is None:
            getattr(library, f"{prefix}_Init")(self._context)

    def update(self, chunk: bytes | bytearray, /) -> None:
        if isinstance(chunk, bytes):
            self._update(self._context, chunk, ctypes.c_size_t(len(chunk)))
        else:
            view = (ctypes.c_char * len(chunk)).from_buffer(chunk)
            self._update(self._context, view, ctypes.c_size_t(len(chunk)))

    def digest(self) -> bytes:
        context = ctypes.create_string_buffer(self._context.raw, len(self._context))
        result = ctypes.create_string_buffer(self._hash_bytes)
        self._final(result, context)
        return result.raw

    def export(self) -> bytes | None:
        return self._context.raw


class _PlainHash:
    """hashlib, if libcrypto is not available."""

    def __init__(self, algorithm: str) -> None:
        self._hash = hashlib.new(algorithm)

    def update(self, chunk: bytes | bytearray, /) -> None:
        self._hash.update(chunk)

    def digest(self) -> bytes:
        return self._hash.digest()

    def export(self) -> bytes | None:
        return None


def new_hash(algorithm: str) -> RunningHash:
    """A hash over zero bytes."""
    library = _libcrypto()
    return _ExportableHash(library, algorithm, None) if library else _PlainHash(algorithm)


def restored_hash(algorithm: str, state: bytes) -> RunningHash | None:
    """The hash that was exported as `state`; None if it cannot be restored here and the bytes must be read again."""
    library = _libcrypto()
    if library is None or len(state) != _CONTEXT_BYTES[algorithm]:
        return None
    return _ExportableHash(library, algorithm, state)
