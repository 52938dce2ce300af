"""Tolerated forms of REST URLs: with a trailing slash, or with several slashes in place of one.

Harbor's router looks up the cleaned path, and clients rely on it: `/quotas/?page=1`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse

ROOT: Final = "/api/"
_SLASHES: Final = re.compile("/{2,}")


class CleanAddressMiddleware:
    """Rewrites a URL under `/api/` to the form in the URL map. It does not redirect, because a redirect would lose the
    body."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The answer of the view for the cleaned path."""
        address = _SLASHES.sub("/", request.path_info)
        if address.startswith(ROOT):
            address = address.rstrip("/")
            if address != request.path_info:
                request.path = f"{request.path.removesuffix(request.path_info)}{address}"
                request.path_info = address
        return self.get_response(request)
