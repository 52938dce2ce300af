"""What the server in front of Django must know of signing in there: which requests may have to wait for a turn to hash
a password, and as whom a request was answered."""

from __future__ import annotations

from typing import Final

from registry_core.api.authentication import USER, is_cached
from registry_core.http.messages import Request

__all__ = ["USER", "may_hash"]

_SIGN_INS: Final = (["c", "login"], ["sign-in"])
_ACCOUNTS: Final = frozenset({"users", "robots"})
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def may_hash(request: Request) -> bool:
    """Whether answering may take a slow hash: it comes with a password that the cache has not as checked, or to
    where one is given."""
    credentials = request.headers.get("authorization", "")
    if credentials and not is_cached(credentials):
        return True
    return request.method not in _SAFE and _takes_secrets(request.path)


def _takes_secrets(path: str) -> bool:
    """Whether it is where people sign in, or where accounts get their secrets."""
    parts = [part for part in path.split("/") if part]
    if parts[:2] != ["api", "v2.0"]:
        return parts in _SIGN_INS
    is_below_project = len(parts) > 4 and parts[2] == "projects" and parts[4] == "robots"
    return is_below_project or (len(parts) > 2 and parts[2] in _ACCOUNTS)
