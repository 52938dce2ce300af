"""Puts the path of the external URL into the addresses in responses of the data path."""

from __future__ import annotations

from typing import Final

from registry_core.http.messages import Header, Response

_ADDRESSES: Final = {"location": "/", "link": "</"}


def under_prefix(response: Response, prefix: str) -> Response:
    """`response` with the paths in Location and Link put under the path of the external URL.

    Paths stay absolute, because some clients do not understand others (containerd), and without a host, so that a
    client that used another of the registry's names keeps using it.
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
