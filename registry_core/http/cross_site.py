"""Whether a browser sends a request on behalf of another site, and whether the client is a browser at all.

A browser adds its credentials for the registry (a session's cookie, stored Basic credentials) to requests that any page
causes. It also declares where they come from, in headers that no page can set: `Sec-Fetch-Site` (Fetch Metadata Request
Headers, W3C) over TLS and on localhost, and `Origin` (RFC 6454) with every request that may change something. Other
clients send neither, and nothing is required of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

FOREIGN: Final = "this request comes from another site: send it from the registry's own pages, or without a browser"
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_OWN_SITES: Final = frozenset({"same-origin", "none"})
_PORTS: Final = {"http": "80", "https": "443"}


def is_foreign(headers: Mapping[str, str], *, own_origins: tuple[str, ...]) -> bool:
    """Whether a browser declares that another origin caused the request. `headers` by lower-case names."""
    site = headers.get("sec-fetch-site", "")
    if site and site.strip().lower() not in _OWN_SITES:
        return True
    origin = headers.get("origin", "")
    return bool(origin) and _comparable(origin) not in {_comparable(own) for own in own_origins}


def is_from_browser(headers: Mapping[str, str]) -> bool:
    """Whether a browser sends the request: it has headers that only browsers send."""
    return any(name in headers for name in ("sec-fetch-site", "origin", "upgrade-insecure-requests"))


def _comparable(origin: str) -> str:
    """An origin with its port, in lower case; empty for `null` and anything invalid."""
    try:
        parts = urlsplit(origin.strip().lower())
        port = parts.port or _PORTS.get(parts.scheme, "")
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}" if parts.scheme in _PORTS and parts.hostname else ""
