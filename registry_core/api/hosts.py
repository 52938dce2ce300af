"""Whether the `Host` of a request names this registry: pages and URLs are made from it.

Load balancers and kubelets probe by an address that nobody else uses; their probes are answered all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.urls import get_resolver

from registry_core.config import get_config
from registry_core.logs import get_logger

PROBES: Final = frozenset({"/api/v2.0/ping", "/api/v2.0/health"})
_OURS: Final = "localhost"  # always in ALLOWED_HOSTS
_SHOWN_MAX: Final = 100

_log = get_logger(__name__)


class HostMiddleware:
    """Refuses a foreign host with one line in the log, in the error format of the endpoint."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The answer of the view, or 400."""
        if request.path_info.rstrip("/") in PROBES:
            request.META["HTTP_HOST"] = _OURS
        try:
            request.get_host()
        except DisallowedHost as error:
            return _refused(request, error)
        return self._get_response(request)


def refusal() -> str:
    """The message for the client."""
    url = get_config().external_url
    return f"the address of this registry is {url}, and the request names another host" if url else (
        "the request's Host is not a host name"
    )  # fmt: skip


def _refused(request: HttpRequest, error: DisallowedHost) -> HttpResponse:
    _log.warning(
        "a request was refused for its Host: set PORTOLAN_EXTERNAL_URL to the address that clients use",
        host=str(request.META.get("HTTP_HOST", ""))[:_SHOWN_MAX],
        external_url=get_config().external_url,
        path=request.path,
    )
    handler: Callable[..., HttpResponse] = get_resolver(None).resolve_error_handler(400)
    return handler(request, exception=error)
