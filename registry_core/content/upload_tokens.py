"""Tokens of uploads: unguessable and signed, so that a token without bytes needs no row.

A token is for one repository and one subject. It can begin an upload within an hour; a begun upload is found by its row
or its staged file, for as long as those exist.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import secrets
import struct
import time
from dataclasses import dataclass

from django.conf import settings

from registry_core.access import Subject
from registry_core.digests import ALGORITHMS

FRESH_S = 3600
_NAME_BYTES = 16
_SIGNATURE_BYTES = 15
_FORMAT = struct.Struct(f">{_NAME_BYTES}sIB")  # name, seconds since the epoch, algorithm
_HAS_ROW = 0x80  # beside the algorithm
_TEXT_LENGTH = (_FORMAT.size + _SIGNATURE_BYTES) // 3 * 4


@dataclass(frozen=True, slots=True)
class UploadToken:
    """The content of a token. `name`: 32 unique hex digits. `has_row`: the upload was begun in the database and exists
    only there, whatever the configured store is now."""

    text: str
    name: str
    algorithm: str
    is_fresh: bool
    has_row: bool = False


def issue(*, repository_id: int, by: Subject, algorithm: str, has_row: bool = False) -> str:
    """A token for a new upload of a blob whose digest will use `algorithm`."""
    number = ALGORITHMS[algorithm] | (_HAS_ROW if has_row else 0)
    said = _FORMAT.pack(secrets.token_bytes(_NAME_BYTES), int(time.time()), number)
    return base64.urlsafe_b64encode(said + _signature(said, repository_id, by)).decode()


def read(text: str, *, repository_id: int, by: Subject) -> UploadToken | None:
    """The content of the token; None if it was not issued here for this repository and subject."""
    if len(text) != _TEXT_LENGTH:
        return None
    try:
        raw = base64.b64decode(text, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    said, signature = raw[: _FORMAT.size], raw[_FORMAT.size :]
    if not hmac.compare_digest(signature, _signature(said, repository_id, by)):
        return None
    name, issued_at_s, number = _FORMAT.unpack(said)
    algorithm = next(known for known, own in ALGORITHMS.items() if own == number & ~_HAS_ROW)
    is_fresh = time.time() < issued_at_s + FRESH_S
    return UploadToken(text, name.hex(), algorithm, is_fresh, has_row=bool(number & _HAS_ROW))


def _signature(said: bytes, repository_id: int, by: Subject) -> bytes:
    whole = said + struct.pack(">qqq", repository_id, int(by.kind), by.id)
    return hmac.digest(_key(settings.SECRET_KEY), whole, "sha256")[:_SIGNATURE_BYTES]


@functools.lru_cache(maxsize=1)
def _key(secret: str) -> bytes:
    return hashlib.sha256(b"registry_core.content.upload_tokens" + secret.encode()).digest()
