"""The host names and addresses of a certificate."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from cryptography import x509

from registry_core.config import Config

LOCAL = ("localhost", "127.0.0.1", "::1")


def wanted_names(config: Config) -> tuple[str, ...]:
    """The names for our own certificate: the configured ones, then this machine's own names."""
    return tuple(dict.fromkeys([*required_names(config), *_listened(config), *LOCAL]))


def required_names(config: Config) -> tuple[str, ...]:
    """The names that clients are supposed to use: those of `hostname` and `external_url`."""
    external = urlsplit(config.external_url).hostname if config.external_url and config.is_https else None
    return tuple(dict.fromkeys([*config.hostname, *([external] if external else [])]))


def is_for_this_machine_alone(config: Config) -> bool:
    """Whether other machines can connect, but by names that our own certificate does not have."""
    return not required_names(config) and config.host in {"0.0.0.0", "::"}  # noqa: S104 - compared, not listened on


def general_name(name: str) -> x509.GeneralName:
    """`name` as an entry of subjectAltName."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def names_of(certificate: x509.Certificate) -> list[str]:
    """The names and addresses of a certificate's subjectAltName; the subject's common name is not one (RFC 9525)."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return [*names.get_values_for_type(x509.DNSName), *addresses]


def covers(certificate: x509.Certificate, name: str) -> bool:
    """Whether a certificate's name matches `name`: exactly, or by a wildcard for the first label."""
    known = {known.lower() for known in names_of(certificate)}
    wildcard = "*." + name.partition(".")[2]
    return name.lower() in known or (general_name(name).__class__ is x509.DNSName and wildcard.lower() in known)


def _listened(config: Config) -> tuple[str, ...]:
    """The address that we listen on, if it is a single one."""
    try:
        address = ipaddress.ip_address(config.host)
    except ValueError:
        return (config.host.lower(),)
    return () if address.is_unspecified else (str(address),)
