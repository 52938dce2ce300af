"""A configured certificate (`tls_cert`, `tls_key`): read and checked before it is served."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from registry_core.config import Config
from registry_core.tls.chains import examine_chain, examine_leaf, is_issued_by, is_self_signed, title
from registry_core.tls.errors import CertificateRefused
from registry_core.tls.names import required_names


def check_given(config: Config) -> list[x509.Certificate]:
    """The chain of `tls_cert`, the server's certificate first. Raises CertificateRefused with all problems."""
    assert config.tls_cert is not None  # noqa: S101 the caller has asked
    assert config.tls_key is not None  # noqa: S101 set together
    chain = read_chain(config.tls_cert)
    key = _read_key(config.tls_key)
    if at := _place_of(key, chain):
        raise CertificateRefused(
            f"{config.tls_cert}: the certificate of {config.tls_key} is number {at + 1} there, {title(chain[at])}; "
            "wrong order: it must be the first, followed by its issuer, and so on"
        )
    now = datetime.datetime.now(datetime.UTC)
    findings = [*examine_leaf(chain[0], required_names(config), now), *examine_chain(chain, now)]
    if findings:
        reasons = "; ".join(map(str, findings))
        raise CertificateRefused(f"{config.tls_cert} ({title(chain[0])}) cannot be served: {reasons}")
    _load(config.tls_cert, config.tls_key)
    return chain


def unknown_issuer(chain: list[x509.Certificate]) -> str | None:
    """The issuer of the last certificate of a chain, if this machine does not know it; None otherwise.

    It may be a root that the clients trust, or a missing intermediate: that cannot be determined here.
    """
    if is_self_signed(chain[-1]) or any(is_issued_by(chain[-1], root) for root in _system_roots()):
        return None
    return chain[-1].issuer.rfc4514_string()


def read_chain(path: Path) -> list[x509.Certificate]:
    """The certificates of a PEM file in its order. Raises CertificateRefused."""
    content = _read(path, "tls_cert")
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise CertificateRefused(f"{path} holds no certificate in PEM{_what_else(content, 'PRIVATE KEY')}") from None


def _place_of(key: object, chain: list[x509.Certificate]) -> int:
    """The position in the chain of the key's certificate. Raises CertificateRefused if it is not in the chain."""
    for at, certificate in enumerate(chain):
        if certificate.public_key() == key:
            return at
    raise CertificateRefused(
        f"the key does not belong to the certificate {title(chain[0])} "
        '(servers say "tls: private key does not match public key"): set tls_key to the file of the key that it was '
        "requested with"
    )


def _read_key(path: Path) -> object:
    content = _read(path, "tls_key")
    try:
        return serialization.load_pem_private_key(content, None).public_key()
    except TypeError:
        raise CertificateRefused(
            f"the key in {path} is encrypted with a password, which nobody could type at a restart: "
            f"decrypt it with `openssl pkey -in {path} -out unlocked.key`"
        ) from None
    except ValueError:
        raise CertificateRefused(f"{path} holds no private key in PEM{_what_else(content, 'CERTIFICATE')}") from None


def _load(certificate: Path, key: Path) -> None:
    """OpenSSL may find problems that our own checks do not: an unsupported curve or encoding."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise CertificateRefused(f"{certificate} with {key} cannot be used: {error}") from None


def _system_roots() -> list[x509.Certificate]:
    bundle = ssl.get_default_verify_paths().cafile
    try:
        return x509.load_pem_x509_certificates(Path(bundle).read_bytes()) if bundle else []
    except (OSError, ValueError):
        return []


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateRefused(f"cannot read {path} ({setting}): {error.strerror}") from None


def _what_else(content: bytes, *other_kinds: str) -> str:
    if b"BEGIN CERTIFICATE REQUEST" in content:
        return ", but a request for one: wait for the CA's answer"
    if other := next((kind for kind in other_kinds if kind.encode() in content), None):
        return f", but a {other.lower()}: are tls_cert and tls_key swapped?"
    if b"-----BEGIN " in content:
        return ", or a damaged one"
    if _is_der(content):
        return ", but in DER: convert it, `openssl x509 -inform der -in FILE -out FILE.pem`"
    if _is_pkcs12(content):
        return ", but in PKCS#12: convert it, `openssl pkcs12 -in FILE -nodes -out FILE.pem`"
    return ""


def _is_der(content: bytes) -> bool:
    try:
        x509.load_der_x509_certificate(content)
    except ValueError:
        return False
    return True


def _is_pkcs12(content: bytes) -> bool:
    try:
        pkcs12.load_pkcs12(content, None)
    except ValueError as error:
        return "password" in str(error).lower()
    return True
