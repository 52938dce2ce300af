"""Certificates for tests, good ones and bad ones, made as a company's CA would: root, intermediate, server."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, and who issued it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.locked_key_pem(None)

    def locked_key_pem(self, password: bytes | None) -> bytes:
        lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)


def issue(
    name: str,
    *,
    by: Issued | None = None,
    names: tuple[str, ...] = (),
    is_ca: bool = False,
    start: datetime.timedelta = -DAY,
    end: datetime.timedelta = 30 * DAY,
) -> Issued:
    """A certificate; self-signed without `by`. `start` and `end` are counted from now."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + start)
        .not_valid_after(now + end)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_entry(entry) for entry in names]), critical=False)
    return Issued(builder.sign(by.key if by else key, hashes.SHA256()), key)


class Company:
    """A root, an intermediate below it, and server certificates from the intermediate."""

    def __init__(self) -> None:
        self.root = issue("Example Root", is_ca=True)
        self.intermediate = issue("Example Issuing CA", by=self.root, is_ca=True)

    def server(
        self,
        *names: str,
        start: datetime.timedelta = -DAY,
        end: datetime.timedelta = 30 * DAY,
    ) -> Issued:
        return issue("registry", by=self.intermediate, names=names or ("localhost", "127.0.0.1"), start=start, end=end)


@dataclass(frozen=True)
class Files:
    """A chain and a key as `tls_cert` and `tls_key` name them."""

    cert: Path
    key: Path


def write(folder: Path, chain: list[Issued], key: bytes | None = None) -> Files:
    """Write the chain in this order, and the first one's key unless another is given."""
    folder.mkdir(parents=True, exist_ok=True)
    files = Files(folder / "tls.crt", folder / "tls.key")
    files.cert.write_bytes(b"".join(issued.pem for issued in chain))
    files.key.write_bytes(chain[0].key_pem if key is None else key)
    return files


def _entry(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
