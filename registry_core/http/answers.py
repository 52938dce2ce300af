"""The path of the external URL, in the addresses that responses of the data path point to."""

from __future__ import annotations

from typing import Final

from registry_core.http.messages import Header, Response

_ADDRESSES: Final = {"location": "/", "link": "</"}


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
