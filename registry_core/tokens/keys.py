"""The Ed25519 keys that sign tokens: PEM files in DATA/secrets/token-keys, the newest signs.

A file is named by the nanosecond of its making and the key's id, `<ns>.<kid>.pem`. A key that has a successor verifies
for as long as a token that it signed can live, and is then removed. Running processes see a rotation by the folder's
modification time, which they look at whenever a key is needed.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from registry_core.config import get_config
from registry_core.durable import make_folder
from registry_core.secretfiles import SECRET_DIRECTORY_MODE, write_secret

TOKEN_LIFE_MAX_S: Final = 86_400
_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key. `verifies_until` in seconds since the epoch; None for the newest, which has no successor."""

    kid: str
    private: Ed25519PrivateKey
    public: Ed25519PublicKey
    verifies_until: float | None


class KeyRing:
    """The keys of one folder, read again when the folder changes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._seen_mtime_ns = -1
        self._keys: dict[str, SigningKey] = {}
        self._newest: SigningKey | None = None

    def signing(self) -> SigningKey:
        """The key that signs now; the first call on a new folder makes it. Raises OSError."""
        self._refresh()
        if self._newest is None:
            self._make_first()
            self._refresh()
        if self._newest is None:
            raise FileNotFoundError(f"no token key in {self._folder}")
        return self._newest

    def verifying(self, kid: str) -> SigningKey | None:
        """The key with this id, while tokens that it signed can live."""
        self._refresh()
        key = self._keys.get(kid)
        if key is None or (key.verifies_until is not None and key.verifies_until < time.time()):
            return None
        return key

    def rotate(self) -> str:
        """Sign with a new key from now on, drop those whose time is over; returns the new key's id."""
        with self._locked():
            kid = self._write_new()
            for path, key in _read(self._folder):
                if key.verifies_until is not None and key.verifies_until < time.time():
                    path.unlink()
            return kid

    def _make_first(self) -> None:
        with self._locked():
            if not list(self._folder.glob("*.pem")):
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
        if mtime_ns == self._seen_mtime_ns:
            return
        with self._lock:
            keys = [key for _, key in _read(self._folder)]
            self._keys = {key.kid: key for key in keys}
            self._newest = keys[-1] if keys else None
            # A folder that changed just now may change again within the clock's tick: look once more next time.
            is_settled = time.time_ns() - mtime_ns > _NS
            self._seen_mtime_ns = mtime_ns if is_settled else -1

    @contextmanager
    def _locked(self) -> Iterator[None]:
        make_folder(self._folder, mode=SECRET_DIRECTORY_MODE)
        with (self._folder / ".lock").open("a") as file:
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


def _read(folder: Path) -> list[tuple[Path, SigningKey]]:
    """The keys, oldest first. A file that vanishes meanwhile was removed by a rotation."""
    paths = sorted(folder.glob("*.pem"))
    made_s = [int(path.name.partition(".")[0]) / _NS for path in paths]
    successors: list[float | None] = [*made_s[1:], None]
    keys = []
    for path, replaced_s in zip(paths, successors, strict=False):
        try:
            private = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except FileNotFoundError:
            continue
        if not isinstance(private, Ed25519PrivateKey):
            raise ValueError(f"{path} is not an Ed25519 key")
        public = private.public_key()
        until = None if replaced_s is None else replaced_s + TOKEN_LIFE_MAX_S
        keys.append((path, SigningKey(thumbprint(public), private, public, until)))
    return keys


def _pem(private: Ed25519PrivateKey) -> str:
    plain = serialization.NoEncryption()
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode().strip()


def _base64url(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()
