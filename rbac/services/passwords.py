"""Secrets that people choose: the rule they keep, and argon2 in a bounded pool.

Argon2 takes about 100 MiB and a core for a tenth of a second, so at most one check per core runs, and only a few
callers may wait: whoever comes later is told to come back, instead of everyone becoming slow.
"""

from __future__ import annotations

import functools
import os
import secrets
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.contrib.auth.hashers import Argon2PasswordHasher, check_password, make_password

from registry_core.access import TooManyAttempts
from registry_core.errors import InvalidInput

SECRET_MIN: Final = 8
SECRET_MAX: Final = 128
_WORKERS: Final = os.cpu_count() or 1
_WAITING: Final = 4
WAIT_S: Final = 2.0
_running = threading.BoundedSemaphore(_WORKERS)
_admitted = threading.BoundedSemaphore(_WORKERS + _WAITING)


def check_strength(secret: str) -> None:
    """Raises InvalidInput unless `secret` has 8 to 128 characters with upper case, lower case and a digit."""
    kinds = (str.isupper, str.islower, str.isdigit)
    if not SECRET_MIN <= len(secret) <= SECRET_MAX or not all(any(kind(c) for c in secret) for kind in kinds):
        raise InvalidInput(
            f"use {SECRET_MIN} to {SECRET_MAX} characters with an upper case letter, a lower case letter and a digit"
        )


def hash_chosen(secret: str) -> str:
    """The slow hash of a chosen secret. Raises InvalidInput when it is too weak."""
    check_strength(secret)
    return make_password(secret)


def is_chosen_secret(secret: str, stored_hash: str | None) -> bool:
    """Whether `secret` is the chosen one with this hash; without a hash the answer is no, and takes as long.

    Raises TooManyAttempts when the pool is full.
    """
    with slot():
        encoded = stored_hash or _hash_of_nobody()
        is_right = len(secret) <= SECRET_MAX and check_password(secret, encoded)
        return is_right and stored_hash is not None


@contextmanager
def slot() -> Iterator[None]:
    """A place in the pool of those who hash. Raises TooManyAttempts when it is full."""
    if not _admitted.acquire(blocking=False):
        raise TooManyAttempts(1)
    try:
        if not _running.acquire(timeout=WAIT_S):
            raise TooManyAttempts(1)
        try:
            yield
        finally:
            _running.release()
    finally:
        _admitted.release()


@functools.cache
def _hash_of_nobody() -> str:
    """A hash that no secret has, of the same cost as any other: random bytes in the place of argon2's result."""
    params = Argon2PasswordHasher().params()
    salt, result = (
        b64encode(secrets.token_bytes(length)).decode().rstrip("=") for length in (params.salt_len, params.hash_len)
    )
    cost = f"m={params.memory_cost},t={params.time_cost},p={params.parallelism}"
    return f"argon2$argon2id$v={params.version}${cost}${salt}${result}"
