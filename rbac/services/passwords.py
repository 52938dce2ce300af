"""Secrets chosen by people: the strength rule, and their slow hashes (argon2, in the turns of `hashing`)."""

from __future__ import annotations

import functools
import secrets
from base64 import b64encode
from collections.abc import Iterable
from typing import Final

from django.contrib.auth.hashers import Argon2PasswordHasher, check_password, make_password

from rbac.services import hashing
from registry_core.errors import InvalidInput

SECRET_MIN: Final = 8
SECRET_MAX: Final = 128


def check_strength(secret: str) -> None:
    """Raises InvalidInput unless `secret` has 8 to 128 characters with upper case, lower case and a digit."""
    kinds = (str.isupper, str.islower, str.isdigit)
    if not SECRET_MIN <= len(secret) <= SECRET_MAX or not all(any(kind(c) for c in secret) for kind in kinds):
        raise InvalidInput(
            f"use {SECRET_MIN} to {SECRET_MAX} characters with an upper case letter, a lower case letter and a digit"
        )


def hash_chosen(secret: str, *, lane: str) -> str:
    """The slow hash of a chosen secret, computed in the turn of a lane. Raises InvalidInput if it is too weak,
    TooManyAttempts."""
    check_strength(secret)
    with hashing.turn(lane):
        return make_password(secret)


def is_one_of(secret: str, stored_hashes: Iterable[str | None]) -> bool:
    """Whether `secret` matches any of these argon2 hashes. Each entry takes the same time, even an absent one, and all
    are checked. Within a turn of `hashing`."""
    found = [_is_right(secret, stored_hash) for stored_hash in stored_hashes]
    return any(found)


def _is_right(secret: str, stored_hash: str | None) -> bool:
    encoded = stored_hash or _hash_of_nobody()
    is_right = len(secret) <= SECRET_MAX and check_password(secret, encoded)
    return is_right and stored_hash is not None


@functools.cache
def _hash_of_nobody() -> str:
    """A hash that matches no secret, at the same cost as any other: random bytes in place of argon2's result."""
    params = Argon2PasswordHasher().params()
    salt, result = (
        b64encode(secrets.token_bytes(length)).decode().rstrip("=") for length in (params.salt_len, params.hash_len)
    )
    cost = f"m={params.memory_cost},t={params.time_cost},p={params.parallelism}"
    return f"argon2$argon2id$v={params.version}${cost}${salt}${result}"
