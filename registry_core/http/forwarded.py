"""The client's address, scheme and host: from the connection, or from the headers of trusted proxies.

`X-Forwarded-For`, `-Proto` and `-Host`, and `Forwarded` (RFC 7239), are believed only from the addresses of the setting
`trusted_proxies`. The chain is read from its right end, the nearest hop: the first address that is not a trusted
proxy's is the client's. Anything to the left of it was written by the client and is ignored.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from registry_core.caches import cached

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

FIELDS = ("forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host")
_HOPS_MAX = 64

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's token
_PAIR = re.compile(rf'\s*({_TOKEN})=(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")\s*', re.DOTALL)
_PORT = r"(?::[0-9]{1,5})?"
_HOST = re.compile(rf"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]{{0,253}})|\[[0-9A-Fa-f:.]{{2,45}}\]){_PORT}")
_PORT_SUFFIX = re.compile(r":(?:[0-9]{1,5}|_[A-Za-z0-9._-]+)\Z")


class Malformed(ValueError):
    """A `Forwarded` header that RFC 7239 does not allow."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The client: its address (RFC 5952, no port), and the scheme and host that it used."""

    address: str
    scheme: str
    host: str


@dataclass(frozen=True, slots=True)
class Hop:
    """What one proxy reports about the connection that it received; empty values are not reported."""

    node: str = ""
    scheme: str = ""
    host: str = ""


def origin_of(*, peer: str, scheme: str, headers: Mapping[str, str], trusted: Sequence[Network]) -> Origin:
    """The origin of a request over the connection from `peer` (an address, possibly with a port).

    `headers` has lower-case names; several lines of one name are joined by commas. If both kinds of header are present
    and name different clients, one was written by a client and passed through by the proxy: then neither is believed.
    """
    direct = Origin(written(peer), scheme, headers.get("host", ""))
    address = parse_node(peer) if trusted else None
    if address is None or not is_within(address, trusted):
        return direct
    named = [_resolve(direct, hops, trusted) for hops in (_standard_hops(headers), _customary_hops(headers)) if hops]
    if not named or any(origin.address != named[0].address for origin in named):
        return direct
    return named[0]


def joined(lines: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The headers that this module reads: several lines of one name form one list (RFC 9110 §5.3)."""
    found: dict[str, str] = {}
    for name, value in lines:
        if name in FIELDS:
            found[name] = f"{found[name]},{value}" if name in found else value
    return found


@cached("addresses", share=1 / 32, entry_bytes=512, longest=64)
def parse_node(text: str) -> Address | None:
    """The address in `text`: with or without a port, IPv6 with or without brackets. None for anything else.

    An IPv6 address that maps an IPv4 one (`::ffff:192.0.2.1`) becomes that one.
    """
    bare = text.strip()
    if bare.startswith("["):
        bare, bracket, rest = bare[1:].partition("]")
        if not bracket or (rest and not _PORT_SUFFIX.fullmatch(rest)):
            return None
    elif bare.count(":") == 1:
        bare = _PORT_SUFFIX.sub("", bare)
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


@cached("written addresses", share=1 / 64, entry_bytes=512, longest=64)
def written(node: str) -> str:
    """The address in `node` in canonical form (RFC 5952, no port); the text itself if there is none in it."""
    address = parse_node(node)
    return str(address) if address else node


def is_within(address: Address, networks: Sequence[Network]) -> bool:
    """Whether one of `networks` contains `address`."""
    return any(address in network for network in networks)


def parse_forwarded(text: str) -> list[Hop]:
    """The elements of a `Forwarded` header, the outermost proxy's first. Raises Malformed (RFC 7239 §4)."""
    hops: list[Hop] = []
    pairs: dict[str, str] = {}
    position = 0
    while True:
        match = _PAIR.match(text, position)
        if match is None or match[1].lower() in pairs:
            raise Malformed(f"at character {position}")
        pairs[match[1].lower()] = match[2] if match[2] is not None else re.sub(r"\\(.)", r"\1", match[3], flags=re.S)
        separator, position = text[match.end() : match.end() + 1], match.end() + 1
        if separator not in {";", ",", ""}:
            raise Malformed(f"at character {match.end()}")
        if separator != ";":
            hops.append(Hop(pairs.get("for", ""), pairs.get("proto", ""), pairs.get("host", "")))
            pairs = {}
        if not separator:
            return hops


def split_host(host: str) -> tuple[str, str]:
    """The name and the port of a Host header; the port is empty if there is none. Brackets stay on the name."""
    name, colon, port = host.rpartition(":")
    return (name, port) if colon and port.isascii() and port.isdigit() else (host, "")


def is_host(text: str) -> bool:
    """Whether `text` may stand in a URL as host and port."""
    return _HOST.fullmatch(text) is not None


def _standard_hops(headers: Mapping[str, str]) -> list[Hop]:
    try:
        return parse_forwarded(headers["forwarded"])[-_HOPS_MAX:] if "forwarded" in headers else []
    except Malformed:
        return []


def _customary_hops(headers: Mapping[str, str]) -> list[Hop]:
    nodes, schemes, hosts = (_list(headers.get(name, "")) for name in FIELDS[1:])
    if not (nodes or schemes or hosts):
        return []
    nodes = nodes or [""]
    schemes, hosts = _aligned(schemes, len(nodes)), _aligned(hosts, len(nodes))
    return [Hop(*values) for values in zip(nodes, schemes, hosts, strict=True)]


def _list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")][-_HOPS_MAX:] if text else []


def _aligned(values: list[str], count: int) -> list[str]:
    """One value per hop. Proxies that overwrite rather than append leave one value for the whole chain: the nearest
    one's."""
    return values if len(values) == count else [values[-1] if values else ""] * count


def _resolve(direct: Origin, hops: Sequence[Hop], trusted: Sequence[Network]) -> Origin:
    """Walk outwards from the nearest hop, as long as the reporting proxy is trusted."""
    origin = direct
    for hop in reversed(hops):
        address = parse_node(hop.node)
        scheme = hop.scheme.lower()
        origin = Origin(
            str(address) if address else origin.address,
            scheme if scheme in {"http", "https"} else origin.scheme,
            hop.host if is_host(hop.host) else origin.host,
        )
        if address is None or not is_within(address, trusted):
            break
    return origin
