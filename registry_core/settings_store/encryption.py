"""Encryption of secrets among the settings: stored in the database, with a key that is not.

Fernet (AES-128-CBC with HMAC-SHA256). A copy of the database alone reveals no secret.
"""

from __future__ import annotations

import functools
from typing import Final

from cryptography.fernet import Fernet, InvalidToken

from registry_core.config import get_config
from registry_core.logs import get_logger
from registry_core.machine.secretfiles import read_or_create_secret

KEY_FILE: Final = "settings.key"
_log = get_logger(__name__)


def encrypt(text: str) -> str:
    """`text`, encrypted with the key file."""
    return _fernet().encrypt(text.encode()).decode()


def decrypt(token: str) -> str:
    """The decrypted text; empty, with an error in the log, if it was encrypted with another key."""
    try:
        return _fernet().decrypt(token.encode()).decode()
    except InvalidToken:
        _log.error("a secret among the settings was encrypted with another key: set it again", key_file=KEY_FILE)
        return ""


@functools.cache
def _fernet() -> Fernet:
    path = get_config().secrets_dir / KEY_FILE
    return Fernet(read_or_create_secret(path, make=lambda: Fernet.generate_key().decode()))
