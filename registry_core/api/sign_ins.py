"""What the server in front of Django must know of signing in there: which requests may have to wait for a turn to hash
a password, and as whom a request was answered."""

from __future__ import annotations

import re
from typing import Final

from registry_core.api.authentication import USER, is_known
from registry_core.http.messages import Request

__all__ = ["USER", "may_hash"]

# Where people sign in, and where accounts get their secrets.
_SETS_SECRETS: Final = re.compile(
    r"/+(?:c/+login|sign-in|api/+v2\.0/+(?:users|robots|projects/+[^/]+/+robots)(?:/.*)?)/*"
)
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def may_hash(request: Request) -> bool:
    """Whether answering may take a slow hash: it comes with a password that is not known, or to where one is given."""
    credentials = request.headers.get("authorization", "")
    if credentials and not is_known(credentials):
        return True
    return request.method not in _SAFE and _SETS_SECRETS.fullmatch(request.path) is not None
