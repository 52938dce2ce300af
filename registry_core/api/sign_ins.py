"""What the server in front of Django needs to know about authentication there: which requests may wait for a turn to
hash a password, and the subject that a request was answered for."""

from __future__ import annotations

from typing import Final

from registry_core.api.authentication import USER, is_cached
from registry_core.http.messages import Request

__all__ = ["USER", "may_hash"]

_SIGN_INS: Final = (["c", "login"], ["sign-in"])
_ACCOUNTS: Final = frozenset({"users", "robots"})
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def may_hash(request: Request) -> bool:
    """Whether answering may need a slow hash: the request has a password that is not cached, or sets one."""
    credentials = request.headers.get("authorization", "")
    if credentials and not is_cached(credentials):
        return True
    return request.method not in _SAFE and _takes_secrets(request.path)


def _takes_secrets(path: str) -> bool:
    """Whether the request signs in, or sets an account's secret."""
    parts = [part for part in path.split("/") if part]
    if parts[:2] != ["api", "v2.0"]:
        return parts in _SIGN_INS
    is_below_project = len(parts) > 4 and parts[2] == "projects" and parts[4] == "robots"
    return is_below_project or (len(parts) > 2 and parts[2] in _ACCOUNTS)
