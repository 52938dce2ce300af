"""The host that a request names, and whether it is valid (RFC 9110 §7.2, RFC 9112 §3.2)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Final

from registry_core.caches import cached
from registry_core.http.messages import Header

# RFC 3986 §3.2.2 and §3.2.3; in an http URI the host must not be empty (RFC 9110 §4.2.1).
_HOST: Final = re.compile(
    r"(?:\[(?P<literal>[0-9A-Fa-f:.]{2,45})\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2}){1,255})"
    r"(?::(?P<port>[0-9]{0,5}))?"
)
_PORT_MAX: Final = 65_535


class BadHost(ValueError):
    """The request does not name its host validly; the message says what is wrong."""


@cached("hosts", share=1 / 128, entry_bytes=512, longest=300)
def is_valid(host: str) -> bool:
    """Whether `host` is a host of an http URI, possibly with a port."""
    match = _HOST.fullmatch(host)
    if match is None or int(match["port"] or 0) > _PORT_MAX:
        return False
    return match["literal"] is None or _is_ipv6(match["literal"])


def named_host(lines: Sequence[Header], headers: Mapping[str, str], *, target: str | None, version: str) -> str | None:
    """The host of a request; None for an HTTP/1.0 request without one. Raises BadHost.

    `headers` has the last of each name in `lines`. `target` is the authority of a request target in absolute form: it
    takes precedence over the header (RFC 9112 §3.2.2), which must still be present and valid.
    """
    if target is None and len(lines) == len(headers) and is_valid(host := headers.get("host", "")):
        return host
    hosts = [value for name, value in lines if name == "host"]
    if len(hosts) > 1:
        raise BadHost("the request has more than one Host header: send one")
    if not hosts and version != "1":
        raise BadHost("the request has no Host header: HTTP/1.1 requires one")
    named = [_without_user(target), *hosts] if target else hosts
    if not all(map(is_valid, named)):
        raise BadHost("the request's Host is not a host name or an address, perhaps with a port")
    return named[0] if named else None


def _without_user(authority: str) -> str:
    return authority.rpartition("@")[2]


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
