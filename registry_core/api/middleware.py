"""Middleware in front of all Django views: refuses cross-site requests, and records the user for the access log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import get_callable

from registry_core.api.authentication import USER
from registry_core.api.errors import exception_handler
from registry_core.errors import NotAllowed
from registry_core.http.cross_site import FOREIGN, SAFE, is_foreign, is_from_browser

GetResponse = Callable[[HttpRequest], HttpResponse]
_OF_THE_API: Final = ("/api/", "/c/")


class CrossSiteMiddleware:
    """Refuses what a browser sends on behalf of another site, however the caller signs in, and never makes a browser
    prompt for Basic credentials, which it would store and send along with later requests."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The view's answer, or 403."""
        if request.method not in SAFE and from_another_site(request):
            return _refused(request)
        response = self._get_response(request)
        if response.status_code == 401 and is_from_browser(request.headers):
            response.headers.pop("WWW-Authenticate", None)
        return response


class AccessLogUserMiddleware:
    """Records the user of a session, if a view has read it."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The view's answer."""
        response = self._get_response(request)
        user = getattr(request, "_cached_user", None)
        if user is not None and user.is_authenticated:
            request.META.setdefault(USER, user.get_username())
        return response


def from_another_site(request: HttpRequest) -> bool:
    """Whether a browser declares that another site caused the request."""
    own = f"{request.scheme}://{request.get_host()}"
    return is_foreign(request.headers, own_origins=(own, *settings.CSRF_TRUSTED_ORIGINS))


def _refused(request: HttpRequest) -> HttpResponse:
    answer = exception_handler(NotAllowed(FOREIGN), {}) if request.path_info.startswith(_OF_THE_API) else None
    show: Any = get_callable(settings.CSRF_FAILURE_VIEW)
    return answer or show(request, reason=FOREIGN)
