"""The caller of a request, for everything that is shared fairly: the verified subject, or the address of an
unauthenticated client.

Nothing that a client can invent makes it another caller: unverified credentials only distinguish members within one
address.
"""

from __future__ import annotations

import ipaddress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, NamedTuple

from registry_core.caches import cached
from registry_core.http.forwarded import parse_node

if TYPE_CHECKING:
    from registry_core.access import Subject

_IPV6_SITE_BITS: Final = 64


class Caller(NamedTuple):
    """Who shares as one (`group`), and who takes turns within the group (`member`)."""

    group: str
    member: str = ""


_OURSELVES: Final = Caller("")
_current: ContextVar[Caller | Subject | tuple[str, str]] = ContextVar("caller", default=_OURSELVES)


def current() -> Caller:
    """The caller of the current request; the registry itself outside of requests."""
    known = _current.get()
    if isinstance(known, Caller):
        return known
    caller = Caller(network_of(known[0]), known[1]) if isinstance(known, tuple) else Caller(known.key)
    _current.set(caller)
    return caller


def begin(address: str, credentials: str) -> None:
    """Begin a request from `address`; its credentials are not verified yet."""
    _current.set((address, credentials))  # most requests never need it


def recognize(subject: Subject) -> None:
    """Record the verified subject of the request. Anonymous callers stay with the others of their address."""
    if not subject.is_anonymous:
        _current.set(subject)


@cached("networks", share=1 / 128, entry_bytes=512, longest=64)
def network_of(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 network that one IPv6 client has."""
    node = parse_node(address)
    if isinstance(node, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((node, _IPV6_SITE_BITS), strict=False))
    return str(node) if node else address
