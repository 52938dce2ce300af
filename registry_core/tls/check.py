"""`portolan tls check URL`: connects like a client, and explains why a client would refuse."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509

from registry_core.tls.chains import Finding, examine_chain, examine_leaf, is_self_signed, title

_TIMEOUT_S: Final = 10.0
_ALERTS: Final = ("PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE")
_NOT_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF")


@dataclass
class Report:
    """The result: lines of facts, then problems, and warnings about older or stricter clients."""

    facts: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not self.findings

    def __str__(self) -> str:
        lines = [*self.facts, *(f"warning: {finding}" for finding in self.warnings)]
        verdict = [f"FAILED: {finding}" for finding in self.findings] or ["ok: a client on this machine connects"]
        return "\n".join([*lines, *verdict])


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect, and the name that the certificate must be for."""

    host: str
    port: int
    is_https: bool


def parse_target(url: str) -> Target:
    """`https://HOST[:PORT][/…]`, `http://…`, or `HOST[:PORT]`, which means HTTPS. Raises ValueError."""
    parts = urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ValueError(f"{url!r} is not https://HOST[:PORT]")
    is_https = parts.scheme == "https"
    return Target(parts.hostname, parts.port or (443 if is_https else 80), is_https)


def check(url: str, *, authority: Path | None = None) -> Report:
    """Connect to `url`, trusting the system's roots, or only those in the file `authority`. Raises ValueError."""
    target, report = parse_target(url), Report()
    try:
        with _connect(target):
            pass
    except socket.gaierror as error:
        remedy = "check its spelling and this machine's DNS"
        report.findings.append(Finding(f"{target.host} has no address ({error.strerror})", remedy, "no such host"))
    except OSError as error:
        remedy = "is the registry up, does it listen on this address (PORTOLAN_HOST), does a firewall stand between?"
        report.findings.append(Finding(f"nothing answers on port {target.port} ({error.strerror or error})", remedy))
    else:
        (_check_tls if target.is_https else _check_plain)(target, report, authority)
    return report


def _check_plain(target: Target, report: Report, _authority: Path | None) -> None:
    if _speaks_http(target):
        report.facts.append(f"{target.host}:{target.port} speaks plain HTTP")
        remedy = "serve HTTPS (`portolan up --tls`), or list the registry in insecure-registries"
        says = "http: server gave HTTP response to HTTPS client"
        report.warnings.append(Finding("clients other than on localhost refuse plain HTTP", remedy, says))
        return
    remedy = f"write https://{target.host}:{target.port}"
    report.findings.append(Finding("this port speaks HTTPS, not HTTP", remedy, "EOF"))


def _check_tls(target: Target, report: Report, authority: Path | None) -> None:
    chain = _shake_hands(target, report)
    if not chain:
        return
    now = datetime.datetime.now(datetime.UTC)
    report.facts += [f"certificate {title(chain[0])}, by {chain[0].issuer.rfc4514_string()}", *_validity(chain[0])]
    report.findings += examine_leaf(chain[0], [target.host], now)
    report.warnings += examine_chain(chain, now)
    report.findings += _unverified(target, chain, authority)


def _shake_hands(target: Target, report: Report) -> list[x509.Certificate]:
    """The chain that the server sends to a client without verification; empty, with a finding, if it sends none."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # to see what a strict client would refuse
    try:
        with _connect(target) as plain, context.wrap_socket(plain, server_hostname=target.host) as secured:
            report.facts.append(f"{secured.version()} with {(secured.cipher() or ('no cipher',))[0]}")
            return _sent(secured)
    except OSError as error:
        report.findings.append(_handshake_failure(target, error))
        return []


def _handshake_failure(target: Target, error: OSError) -> Finding:
    reason = (error.reason if isinstance(error, ssl.SSLError) else None) or str(error)
    if any(sign in reason.upper() for sign in _ALERTS):
        remedy = "have the server speak TLS 1.2 or 1.3"
        return Finding("client and server have no TLS version in common", remedy, "tls: protocol version not supported")
    if _speaks_http(target):
        remedy = f"write http://, or have the server speak HTTPS on port {target.port} (`portolan up --tls`)"
        return Finding("this port speaks plain HTTP", remedy, "http: server gave HTTP response to HTTPS client")
    remedy = "see the server's log; does a proxy in between end the connection?"
    return Finding(f"the TLS handshake fails ({reason})", remedy, "remote error: tls: handshake failure")


def _unverified(target: Target, chain: list[x509.Certificate], authority: Path | None) -> Iterator[Finding]:
    """Problems that a strict client finds beyond names and dates: no trusted CA vouches for the certificate."""
    context = ssl.create_default_context(cafile=authority)
    context.check_hostname = False  # checked before, with a better explanation
    try:
        with _connect(target) as plain, context.wrap_socket(plain, server_hostname=target.host):
            return
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in {_EXPIRED, _NOT_YET_VALID}:
            return
        yield _unknown_authority(chain, error.verify_message)
    except OSError as error:
        yield Finding(f"the second handshake failed ({error})", "try again")


_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10


def _unknown_authority(chain: list[x509.Certificate], message: str) -> Finding:
    says, leaf = "x509: certificate signed by unknown authority", chain[0]
    if is_self_signed(leaf):
        remedy = "trust it as it is (`portolan tls trust` says where), or have it signed by a CA that clients know"
        return Finding("the certificate is self-signed", remedy, says)
    top = chain[-1]
    if is_self_signed(top):
        remedy = "have the clients trust it: `portolan tls trust --for docker` and others say how"
        return Finding(f"this machine does not trust the CA {title(top)}", remedy, says)
    issuer = top.issuer.rfc4514_string()
    if issuer.startswith("CN=Portolan CA "):
        remedy = "have the clients trust it: `portolan tls trust --for docker` and others say how"
        return Finding(f"this machine does not trust {issuer}, the registry's own CA", remedy, says)
    remedy = f"if {issuer} is an intermediate, the server must send it too: append its certificate to tls_cert"
    return Finding(f"this machine does not trust {issuer}, which signed {title(top)} ({message})", remedy, says)


def _validity(leaf: x509.Certificate) -> list[str]:
    return [f"valid from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} to {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"]


def _sent(secured: ssl.SSLSocket) -> list[x509.Certificate]:
    """The chain as it was sent. The method is public since Python 3.13; before, it has a private name."""
    if hasattr(secured, "get_unverified_chain"):
        return [x509.load_der_x509_certificate(der) for der in secured.get_unverified_chain()]
    sent = secured._sslobj.get_unverified_chain() or []  # type: ignore[attr-defined]
    return [x509.load_pem_x509_certificate(certificate.public_bytes().encode()) for certificate in sent]


def _speaks_http(target: Target) -> bool:
    with contextlib.suppress(OSError), _connect(target) as plain:
        plain.sendall(f"GET /v2/ HTTP/1.1\r\nHost: {target.host}\r\nConnection: close\r\n\r\n".encode())
        return plain.recv(5) == b"HTTP/"
    return False


def _connect(target: Target) -> socket.socket:
    return socket.create_connection((target.host, target.port), timeout=_TIMEOUT_S)
