"""What every answer gets on its way out that depends on how the client reached us."""

from __future__ import annotations

from typing import Final

from registry_core.http.forwarded import parse_node, split_host
from registry_core.http.messages import Header, Response

HSTS: Final[Header] = ("strict-transport-security", "max-age=31536000")
_ADDRESSES: Final = {"location": "/", "link": "</"}


def is_local(host: str) -> bool:
    """Whether `host` is `localhost`, to which HSTS must not be told (it would bind every other server and port of the
    machine), or an address, for which browsers do not keep it (RFC 6797 §8.1.1)."""
    name, _ = split_host(host)
    return name == "localhost" or name.endswith(".localhost") or parse_node(name) is not None


def under_prefix(response: Response, prefix: str) -> Response:
    """`response` with the paths in Location and Link put under the path of the external URL.

    Paths stay absolute, for some clients understand no others (containerd), and carry no host, so that a client that
    came by another name of ours stays there.
    """
    if prefix:
        response.headers = [_under(prefix, header) for header in response.headers]
    return response


def _under(prefix: str, header: Header) -> Header:
    name, value = header
    start = _ADDRESSES.get(name)
    if start is None or not value.startswith(start):
        return header
    return name, value[: len(start) - 1] + prefix + value[len(start) - 1 :]
