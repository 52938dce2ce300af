"""The Ed25519 keys that sign tokens: PEM files in DATA/secrets/token-keys; the newest signs.

A file is named after the nanosecond of its creation and the key's id, `<ns>.<kid>.pem`. A key with a successor verifies
as long as a token that it signed can be valid, and is then removed. Running processes detect a rotation by the folder's
modification time, which they check whenever a key is needed.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import math
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from registry_core.config import get_config
from registry_core.logs import get_logger
from registry_core.machine.durable import give_to_owner, make_folder
from registry_core.machine.secretfiles import SECRET_DIRECTORY_MODE, write_secret

TOKEN_LIFE_MAX_S: Final = 86_400
_NS: Final = 1_000_000_000
_LOOK_AGAIN_S: Final = 5.0

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key. `verifies_until` in seconds since the epoch; None for the newest, which has no successor."""

    kid: str
    private: Ed25519PrivateKey
    public: Ed25519PublicKey
    verifies_until: float | None


class KeyRing:
    """The keys of one folder, read again when the folder changes.

    A key that cannot be read is skipped with a warning; the others still sign and verify.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._seen_mtime_ns = -1
        self._look_again_at_s = math.inf
        self._keys: dict[str, SigningKey] = {}
        self._newest: SigningKey | None = None

    def signing(self) -> SigningKey:
        """The key that signs now; created on first use of a new folder. Raises OSError."""
        self._refresh()
        if self._newest is None:
            self._make_first()
            self._refresh()
        if self._newest is None:
            raise FileNotFoundError(f"there is no token key that can be read in {self._folder}")
        return self._newest

    def verifying(self, kid: str) -> SigningKey | None:
        """The key with this id, while tokens that it signed can be valid."""
        self._refresh()
        key = self._keys.get(kid)
        if key is None or (key.verifies_until is not None and key.verifies_until < time.time()):
            return None
        return key

    def rotate(self) -> str:
        """Create a new signing key, and remove expired ones; returns the new key's id."""
        with self._locked():
            kid = self._write_new()
            for path, key in _read(self._folder)[0]:
                if key.verifies_until is not None and key.verifies_until < time.time():
                    path.unlink()
            return kid

    def _make_first(self) -> None:
        with self._locked():
            if not _read(self._folder)[0]:
                self._write_new()

    def _write_new(self) -> str:
        private = Ed25519PrivateKey.generate()
        kid = thumbprint(private.public_key())
        write_secret(self._folder / f"{time.time_ns():020d}.{kid}.pem", _pem(private), is_replacing=False)
        return kid

    def _refresh(self) -> None:
        try:
            mtime_ns = self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if mtime_ns == self._seen_mtime_ns and time.monotonic() < self._look_again_at_s:
            return
        with self._lock:
            readable, unreadable = _read(self._folder)
            keys = [key for _, key in readable]
            # Its owner or mode may be corrected, which does not change the folder's time.
            self._look_again_at_s = time.monotonic() + _LOOK_AGAIN_S if unreadable else math.inf
            self._keys = {key.kid: key for key in keys}
            self._newest = keys[-1] if keys else None
            # A folder that changed just now may change again within the clock's tick, so check once more next time.
            is_settled = time.time_ns() - mtime_ns > _NS
            self._seen_mtime_ns = mtime_ns if is_settled else -1

    @contextmanager
    def _locked(self) -> Iterator[None]:
        make_folder(self._folder, mode=SECRET_DIRECTORY_MODE)
        lock = self._folder / ".lock"
        with lock.open("a") as file:
            give_to_owner(lock)
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@functools.cache
def key_ring() -> KeyRing:
    """The keys of this data folder."""
    return KeyRing(get_config().secrets_dir / "token-keys")


def thumbprint(public: Ed25519PublicKey) -> str:
    """The key's id: its JWK thumbprint (RFC 7638, RFC 8037 appendix A.3)."""
    x = _base64url(public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))
    return _base64url(hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'.encode()).digest())


def unreadable_keys(folder: Path) -> list[Path]:
    """The files of the folder that should contain a key but cannot be read by this process."""
    return _read(folder)[1]


def _read(folder: Path) -> tuple[list[tuple[Path, SigningKey]], list[Path]]:
    """The keys, oldest first, and the unreadable files."""
    found: list[tuple[Path, float, Ed25519PrivateKey]] = []
    unreadable: list[Path] = []
    for path in sorted(folder.glob("*.pem")):
        try:
            found.append((path, int(path.name.partition(".")[0]) / _NS, _private(path)))
        except FileNotFoundError:
            continue  # removed by a rotation meanwhile
        except (OSError, TypeError, ValueError, UnsupportedAlgorithm) as error:
            _warn(path, str(error))
            unreadable.append(path)
    successors: list[float | None] = [*(made_s for _, made_s, _ in found[1:]), None]
    return [
        (path, _signing_key(private, replaced_s))
        for (path, _, private), replaced_s in zip(found, successors, strict=False)
    ], unreadable


def _private(path: Path) -> Ed25519PrivateKey:
    private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(private, Ed25519PrivateKey):
        raise ValueError("not an Ed25519 key")
    return private


def _signing_key(private: Ed25519PrivateKey, replaced_s: float | None) -> SigningKey:
    public = private.public_key()
    until = None if replaced_s is None else replaced_s + TOKEN_LIFE_MAX_S
    return SigningKey(thumbprint(public), private, public, until)


@functools.cache
def _warn(path: Path, reason: str) -> None:
    """Once per file and reason, because the folder is read again and again."""
    _log.warning(
        "a token key cannot be read, and is left out: give it to the account that the registry runs as, or remove it",
        file=str(path),
        reason=reason,
    )


def _pem(private: Ed25519PrivateKey) -> str:
    plain = serialization.NoEncryption()
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode().strip()


def _base64url(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()
