"""How an address of the REST API may be written: with a slash at its end, or several slashes in the place of one.

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
    """Makes of an address under `/api/` what the URL map has. Nothing is redirected: a body would get lost."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer, by the view of the cleaned address."""
        address = _SLASHES.sub("/", request.path_info)
        if address.startswith(ROOT):
            address = address.rstrip("/")
            if address != request.path_info:
                request.path = f"{request.path.removesuffix(request.path_info)}{address}"
                request.path_info = address
        return self.get_response(request)
