"""Whose request this is, for whatever is shared fairly: the verified subject, or the address of who is not yet known.

Nothing that a client can make up at will counts as another caller: credentials that were not verified only tell the
members of one address apart.
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
    """Who shares as one (`group`), and who takes turns within it (`member`)."""

    group: str
    member: str = ""


_OURSELVES: Final = Caller("")
_current: ContextVar[Caller | Subject | tuple[str, str]] = ContextVar("caller", default=_OURSELVES)


def current() -> Caller:
    """Whose request is being answered; ourselves outside of any."""
    known = _current.get()
    if isinstance(known, Caller):
        return known
    caller = Caller(network_of(known[0]), known[1]) if isinstance(known, tuple) else Caller(known.key)
    _current.set(caller)
    return caller


def begin(address: str, credentials: str) -> None:
    """A request from `address` begins; what it says about who sends it is not verified yet."""
    _current.set((address, credentials))  # most requests never ask


def recognize(subject: Subject) -> None:
    """The caller's credentials were verified. Who is nobody stays with the others of his address."""
    if not subject.is_anonymous:
        _current.set(subject)


@cached("networks", share=1 / 128, entry_bytes=512, longest=64)
def network_of(address: str) -> str:
    """What counts as one address: an IPv4 address, or the network of 64 bits that one IPv6 client is given."""
    node = parse_node(address)
    if isinstance(node, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((node, _IPV6_SITE_BITS), strict=False))
    return str(node) if node else address
