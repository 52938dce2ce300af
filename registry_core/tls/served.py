"""The served certificate: ready before the first request, and replaced while requests run.

The server reads it when a worker starts, so a new certificate needs new workers (`registry_core.wiring.workers`).
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from registry_core import logs
from registry_core.config import Config
from registry_core.machine.durable import give_to_owner
from registry_core.machine.generations import process_start_time
from registry_core.tls.authority import ensure_certificate, server_path
from registry_core.tls.errors import CertificateRefused
from registry_core.tls.given import check_given, read_chain, unknown_issuer

_LOOK_EVERY_S = 30.0
_LOOKS_PER_LIFETIME = 24
_WARN_BEFORE = datetime.timedelta(days=14)
_WARN_EVERY_S = 86_400.0

_logger = logs.get_logger("portolan.tls")


class ServedFiles(NamedTuple):
    """PEM files of the chain and of its key; they may be the same file."""

    certificate: Path
    key: Path


def prepare(config: Config) -> ServedFiles | None:
    """The files to serve, created or checked; None if TLS is not served. Raises CertificateRefused, OSError."""
    if not config.serves_tls:
        return None
    if config.tls_cert is None or config.tls_key is None:
        ensure_certificate(config)
        return ServedFiles(server_path(config), server_path(config))
    issuer = unknown_issuer(check_given(config))
    if issuer is not None:
        _logger.warning(
            "the chain of tls_cert ends at an issuer that this machine does not trust: if it is an intermediate, "
            "append its certificate to the file",
            issuer=issuer,
        )
    return ServedFiles(config.tls_cert, config.tls_key)


class Note(NamedTuple):
    """What the running `serve` of this machine serves: its process, the file, and the certificate as it was read."""

    pid: int
    path: Path
    certificate: x509.Certificate


def note_served(config: Config, files: ServedFiles) -> None:
    """Record what is served from now on, for commands in other shells, which have other settings."""
    pid, pem = os.getpid(), files.certificate.read_bytes()
    certificates = "".join(found.public_bytes(Encoding.PEM).decode() for found in x509.load_pem_x509_certificates(pem))
    note = {"pid": pid, "started": process_start_time(pid), "path": str(files.certificate), "pem": certificates}
    draft = _note_path(config).with_suffix(f".{pid}")
    try:
        draft.write_text(json.dumps(note))
        give_to_owner(draft)
        draft.replace(_note_path(config))
    except OSError as error:
        _logger.warning("`portolan tls show` cannot show what is served", reason=str(error))


def read_note(config: Config) -> Note | None:
    """The record of the running `serve`; None if none runs, or it does not serve HTTPS."""
    try:
        note = json.loads(_note_path(config).read_text())
        if process_start_time(note["pid"]) != note["started"]:
            return None
        return Note(note["pid"], Path(note["path"]), x509.load_pem_x509_certificate(note["pem"].encode()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget_note(config: Config) -> None:
    """Remove the record of a previous `serve` with HTTPS."""
    with contextlib.suppress(OSError):
        _note_path(config).unlink(missing_ok=True)


def _note_path(config: Config) -> Path:
    return config.run_dir / "served-certificate.json"


def served_certificate(config: Config) -> x509.Certificate:
    """The certificate that would be served with these settings. Raises CertificateRefused if it cannot be read."""
    if config.tls_cert is None and not server_path(config).exists():
        raise CertificateRefused(f"{server_path(config)} does not exist yet: `portolan serve` creates it")
    return read_chain(config.tls_cert or server_path(config))[0]


class Renewal:
    """Watches the served certificate from a thread, and calls `on_change` when there is a new one to serve.

    Our own certificate is renewed in time; a configured one is reloaded when its files change and are valid. Otherwise
    the old one stays in use, and the log says why.
    """

    def __init__(self, config: Config, *, on_change: Callable[[], None]) -> None:
        self._config = config
        self._on_change = on_change
        self._seen = self._fingerprint()
        self._warn_in_s = 0.0
        self._every_s = _LOOK_EVERY_S
        if config.tls_cert is None:
            self._every_s = min(_LOOK_EVERY_S, config.tls_lifetime_s / _LOOKS_PER_LIFETIME)

    def start(self) -> None:
        """Start watching, until the process ends."""
        threading.Thread(target=self._run, name="tls-renewal", daemon=True).start()

    def look(self) -> None:
        """Check once. Problems of the new certificate are not raised: the old one is still served."""
        try:
            if self._is_changed():
                _logger.info("the certificate has changed, new workers serve it")
                self._on_change()
        except (CertificateRefused, OSError) as error:
            _logger.error("the new certificate cannot be used, the previous one is still served", reason=str(error))
        self._warn_of_expiry()

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._every_s):
            self.look()

    def _is_changed(self) -> bool:
        if self._config.tls_cert is None:
            return ensure_certificate(self._config)
        fingerprint = self._fingerprint()
        if fingerprint == self._seen:
            return False
        self._seen = fingerprint  # a refused pair is logged once, not at every check
        check_given(self._config)
        return True

    def _fingerprint(self) -> str:
        """Of the contents, not the times: certbot and Kubernetes replace links, not files."""
        digest = hashlib.sha256()
        for path in (self._config.tls_cert, self._config.tls_key):
            if path is not None and path.exists():
                digest.update(path.read_bytes() + b"\0")
        return digest.hexdigest()

    def _warn_of_expiry(self) -> None:
        self._warn_in_s -= self._every_s
        if self._config.tls_cert is None or self._warn_in_s > 0:
            return
        try:
            expires_at = read_chain(self._config.tls_cert)[0].not_valid_after_utc
        except CertificateRefused:
            return  # logged above
        if expires_at - datetime.datetime.now(datetime.UTC) < _WARN_BEFORE:
            self._warn_in_s = _WARN_EVERY_S
            _logger.warning("the certificate of tls_cert expires soon", expires_at=expires_at.isoformat())
