"""Hashes of secrets: keyed HMAC for generated ones, argon2 for those that people choose.

A generated secret has 256 random bits, so a fast hash protects it; the key is stored outside the database, so that a
copy of the database alone does not allow guessing. A chosen secret needs the slow hash (`rbac.services.passwords`).
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
import secrets
from typing import Final

from registry_core.config import get_config
from registry_core.machine.secretfiles import read_or_create_secret

_GENERATED: Final = re.compile(r"pt[A-Z][a-z][0-9]_[A-Za-z0-9_-]{43}")


def generate_secret() -> str:
    """A new secret of 256 random bits, with upper case, lower case and a digit, as some clients demand."""
    return f"ptR{secrets.choice('abcdefgh')}{secrets.randbelow(10)}_{secrets.token_urlsafe(32)}"


def looks_generated(secret: str) -> bool:
    """Whether `secret` has the form of a generated one. This depends on the presented text alone, so it reveals nothing
    about accounts."""
    return _GENERATED.fullmatch(secret) is not None


def hash_generated(secret: str) -> str:
    """The hash under which a generated secret is stored: 64 hexadecimal characters."""
    return hmac.new(_key(), secret.encode(), hashlib.sha256).hexdigest()


def is_generated_secret(secret: str, stored_hash: str) -> bool:
    """Whether `secret` is the generated one with this hash; in constant time."""
    return hmac.compare_digest(hash_generated(secret), stored_hash)


@functools.cache
def _key() -> bytes:
    path = get_config().secrets_dir / "credentials.key"
    return bytes.fromhex(read_or_create_secret(path, make=lambda: secrets.token_hex(32)))
