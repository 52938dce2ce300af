"""Checks of a certificate and its chain as a client makes them: for configured files and for what a server sent.

Go's messages (docker, podman, containerd, Kubernetes) are quoted if there is one, because people search for them.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from registry_core.tls.names import covers, general_name, names_of

_RSA_BITS_MIN: Final = 2048


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem: what it is, what clients say (empty: nothing in particular), and the remedy."""

    problem: str
    remedy: str
    client_says: str = ""

    def __str__(self) -> str:
        said = f' (clients say "{self.client_says}")' if self.client_says else ""
        return f"{self.problem}{said}: {self.remedy}"


def examine_leaf(leaf: x509.Certificate, names: Sequence[str], now: datetime.datetime) -> Iterator[Finding]:
    """Problems of the server's own certificate for clients that use `names`."""
    yield from _dates(leaf, now)
    for name in names:
        yield from _name(leaf, name)
    yield from _purpose(leaf)
    key = leaf.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _RSA_BITS_MIN:
        yield Finding(f"the key is RSA of {key.key_size} bits", f"make one of {_RSA_BITS_MIN} bits or more")
    if isinstance(leaf.signature_hash_algorithm, hashes.SHA1 | hashes.MD5):
        algorithm = leaf.signature_hash_algorithm.name
        yield Finding(
            f"the certificate is signed with {algorithm}", "have it signed with SHA-256",
            "x509: cannot verify signature: insecure algorithm",
        )  # fmt: skip


def examine_chain(chain: Sequence[x509.Certificate], now: datetime.datetime) -> Iterator[Finding]:
    """Problems of the order of a chain and of the certificates above the first."""
    for above in chain[1:]:
        for finding in _dates(above, now):
            yield Finding(f"{title(above)} in the chain: {finding.problem}", finding.remedy, finding.client_says)
    broken = [at for at in range(len(chain) - 1) if not is_issued_by(chain[at], chain[at + 1])]
    if not broken:
        return
    ordered = in_order(chain)
    if len(ordered) == len(chain):
        yield Finding(
            "the certificates are in the wrong order",
            "write them into the file in this order: " + ", then ".join(title(certificate) for certificate in ordered),
        )
        return
    for at in broken:
        yield Finding(
            f"{title(chain[at])} is not signed by {title(chain[at + 1])}, which follows it",
            f"put its issuer there, {chain[at].issuer.rfc4514_string()}, or leave out what does not belong",
            "x509: certificate signed by unknown authority",
        )


def in_order(chain: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """The first certificate and those above it in `chain`, each followed by its issuer."""
    ordered, rest = [chain[0]], list(chain[1:])
    while issuer := _first(rest, lambda candidate: is_issued_by(ordered[-1], candidate)):
        ordered.append(issuer)
        rest.remove(issuer)
    return ordered


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether `issuer` signed `certificate`."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # another name, another key, an unknown algorithm: not issued by it
        return False
    return True


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Whether the certificate is its own issuer, like a root."""
    return is_issued_by(certificate, certificate)


def title(certificate: x509.Certificate) -> str:
    """The certificate's subject, for people."""
    return certificate.subject.rfc4514_string() or ", ".join(names_of(certificate)) or "a certificate without a name"


def _first(
    candidates: Sequence[x509.Certificate], accepts: Callable[[x509.Certificate], bool]
) -> x509.Certificate | None:
    return next((candidate for candidate in candidates if accepts(candidate)), None)


def _dates(certificate: x509.Certificate, now: datetime.datetime) -> Iterator[Finding]:
    says = "x509: certificate has expired or is not yet valid"
    if now > certificate.not_valid_after_utc:
        yield Finding(f"it expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC", "renew it", says)
    if now < certificate.not_valid_before_utc:
        start = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        yield Finding(f"it is valid only from {start} on", "wait until then, or set this machine's clock", says)


def _name(leaf: x509.Certificate, name: str) -> Iterator[Finding]:
    if covers(leaf, name):
        return
    known, remedy = names_of(leaf), f"get one whose subjectAltName has {name}, or use a name that it has"
    if not known:
        says = "x509: certificate relies on legacy Common Name field, use SANs instead"
        yield Finding("it has no subjectAltName", remedy, says)
    elif isinstance(general_name(name), x509.IPAddress):
        says = f"x509: cannot validate certificate for {name} because it doesn't contain any IP SANs"
        yield Finding(f"it is for {', '.join(known)} and not for the address {name}", remedy, says)
    else:
        says = f"x509: certificate is valid for {', '.join(known)}, not {name}"
        yield Finding(f"it is for {', '.join(known)} and not for {name}", remedy, says)


def _purpose(leaf: x509.Certificate) -> Iterator[Finding]:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if ExtendedKeyUsageOID.SERVER_AUTH not in usage and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usage:
        yield Finding(
            "it is not for servers (extendedKeyUsage has no serverAuth)", "have one issued for a server",
            "x509: certificate specifies an incompatible key usage",
        )  # fmt: skip
