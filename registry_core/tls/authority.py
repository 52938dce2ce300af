"""Our own certificate authority, for installations without another one: DATA/tls.

Clients trust `ca.crt` (`registry_core.tls.trust`), `ca.key` signs with it and never leaves the machine, `server.pem`
has the served key and certificate in one file, so that they are replaced together.
"""

from __future__ import annotations

import datetime
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from registry_core.config import Config
from registry_core.machine.durable import make_folder
from registry_core.machine.secretfiles import write_secret
from registry_core.tls.errors import CertificateRefused
from registry_core.tls.names import general_name, names_of, wanted_names

AUTHORITY_LIFETIME: Final = datetime.timedelta(days=3653)
_CLOCKS_DIFFER: Final = datetime.timedelta(minutes=5)
_FOLDER_MODE: Final = 0o755  # the CA's certificate is for everybody; the keys have modes of their own

Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def authority_path(config: Config) -> Path:
    """The certificate that clients trust."""
    return config.tls_dir / "ca.crt"


def server_path(config: Config) -> Path:
    """The served key and certificate."""
    return config.tls_dir / "server.pem"


def ensure_certificate(config: Config) -> bool:
    """Create what is missing, outdated or about to expire; returns whether the served certificate has changed.

    A certificate is renewed in the last third of its life, or when its names have changed. Raises CertificateRefused if
    our CA itself has expired, OSError if DATA/tls cannot be written.
    """
    with _locked(config):
        authority = _ensure_authority(config)
        if _is_good(config, authority[0]):
            return False
        write_secret(server_path(config), _pem(*_issue(config, authority)))
        return True


def read_authority(config: Config) -> x509.Certificate | None:
    """The certificate of our CA; None if there is none."""
    try:
        return x509.load_pem_x509_certificate(authority_path(config).read_bytes())
    except FileNotFoundError:
        return None


def renewal_at(certificate: x509.Certificate) -> datetime.datetime:
    """The time at which two thirds of the certificate's life are over."""
    issued = certificate.not_valid_before_utc + _CLOCKS_DIFFER
    return issued + (certificate.not_valid_after_utc - issued) * 2 / 3


@contextmanager
def _locked(config: Config) -> Iterator[None]:
    """Two processes that start at once create one CA, not two."""
    make_folder(config.tls_dir, mode=_FOLDER_MODE)
    descriptor = os.open(config.tls_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _ensure_authority(config: Config) -> Pair:
    certificate, key_path = read_authority(config), config.tls_dir / "ca.key"
    if certificate is None:
        certificate, key = _make_authority()
        write_secret(key_path, _key_pem(key))
        write_secret(authority_path(config), _certificate_pem(certificate))
        authority_path(config).chmod(0o644)
        return certificate, key
    if certificate.not_valid_after_utc < _now():
        raise CertificateRefused(
            f"our CA in {config.tls_dir} has expired: remove ca.crt and ca.key there, start again, and let the clients "
            "trust the new one (`portolan tls trust`)"
        )
    try:
        signer = serialization.load_pem_private_key(key_path.read_bytes(), None)
    except (FileNotFoundError, ValueError):
        raise CertificateRefused(f"{key_path} is missing or damaged, and without it nothing can be signed") from None
    assert isinstance(signer, ec.EllipticCurvePrivateKey)  # noqa: S101 we made it so
    return certificate, signer


def _is_good(config: Config, authority: x509.Certificate) -> bool:
    try:
        served = x509.load_pem_x509_certificate(server_path(config).read_bytes())
        served.verify_directly_issued_by(authority)
    except Exception:  # missing, damaged, or of another CA: a new one solves each case
        return False
    return set(names_of(served)) == set(wanted_names(config)) and _now() < renewal_at(served)


def _make_authority() -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    # A unique name: a client that trusts several of our CAs must not mistake one for another.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Portolan CA {secrets.token_hex(4)}")])
    usage = _usage(key_cert_sign=True, crl_sign=True)
    builder = _builder(name, name, key, _now() + AUTHORITY_LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(usage, critical=True)
    return builder.sign(key, hashes.SHA256()), key


def _issue(config: Config, authority: Pair) -> Pair:
    signer, signing_key = authority
    key, names = ec.generate_private_key(ec.SECP256R1()), wanted_names(config)
    until = min(_now() + datetime.timedelta(seconds=config.tls_lifetime_s), signer.not_valid_after_utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    builder = _builder(subject, signer.subject, key, until)
    for extension, is_critical in (
        (x509.SubjectAlternativeName([general_name(name) for name in names]), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(digital_signature=True), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), False),
    ):
        builder = builder.add_extension(extension, critical=is_critical)
    return builder.sign(signing_key, hashes.SHA256()), key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, until: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - _CLOCKS_DIFFER)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> str:
    return _key_pem(key) + "\n" + _certificate_pem(certificate)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode().strip()


def _certificate_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode().strip()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
