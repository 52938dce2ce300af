"""The forms in which settings are written: lists, host names, addresses on the web. Each raises ValueError."""

import contextlib
import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

_URL_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")
_HOST_NAME = re.compile(r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def web_address(url: str) -> str:
    """`http://HOST[:PORT][/PATH]`, or the same with https, without a slash at its end."""
    parts = urlsplit(url)
    is_plain = not parts.query and not parts.fragment and _URL_PATH.fullmatch(parts.path)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not is_plain:
        raise ValueError("must be http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]")
    return url.rstrip("/")


def items(value: Any) -> list[str]:
    """A list as a configuration file writes it, or commas in a variable."""
    parts = value if isinstance(value, list | tuple) else str(value).split(",")
    return [text for part in parts if (text := str(part).strip())]


def host_name(text: str) -> str:
    """A DNS name in its ASCII form, or an address in its shortest. Raises ValueError."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(text.strip("[]")))
    try:
        name = text.lower() if text.isascii() else text.encode("idna").decode()
    except UnicodeError:
        name = ""
    if not _HOST_NAME.fullmatch(name) or len(name) > 253:
        raise ValueError(f"{text!r} is neither a host name nor an address (and has no port and no https://)")
    return name
