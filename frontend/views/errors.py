"""What is shown when a page cannot be: in the console's form, or in the API's for addresses under `/api/`."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from registry_core.api import views as api
from registry_core.api.hosts import refusal
from registry_core.config import get_config
from registry_core.logs import get_logger
from registry_core.storage.outages import Outage, outage_of

_log = get_logger("portolan.console")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: nothing there, or nothing that this user may see; the page does not tell which."""
    if is_api(request):
        return api.not_found(request)
    return render(request, "frontend/errors/404.html", status=404)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400: what was sent is no request to this registry. Rendered without it, since it may be what is wrong."""
    reason = refusal() if isinstance(exception, DisallowedHost) else "the request makes no sense"
    if is_api(request):
        return api.bad_request(request, reason)
    return HttpResponse(render_to_string("frontend/errors/400.html", {"reason": reason}), status=400)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403: known, and not allowed."""
    return render(request, "frontend/errors/403.html", status=403)


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403: the form is older than the session, or came from an address that we do not take for ours."""
    other = _other_address(request)
    if other:
        _log.warning(
            "a form was refused, as the browser is at another address than the registry: set PORTOLAN_EXTERNAL_URL to "
            "the one in the browser, and PORTOLAN_TRUSTED_PROXIES to the networks of the proxy",
            browser=other[:200],
            registry=_own_address(request),
        )
    context = {"is_form_stale": not other, "browser_address": other, "own_address": _own_address(request)}
    return render(request, "frontend/errors/403.html", context, status=403)


def server_error(request: HttpRequest) -> HttpResponse:
    """500, or 503 and 507 for an outage. Rendered without the request: whose session it is may be just what could not
    be read."""
    outage = outage_of(sys.exc_info()[1])
    if outage is not None:
        return _out_of_order(request, outage)
    if is_api(request):
        return api.server_error(request)
    return HttpResponse(render_to_string("frontend/errors/500.html"), status=500)


def is_api(request: HttpRequest) -> bool:
    """Whether the answer is for a program."""
    return request.path_info.startswith(("/api/", "/c/"))


def _out_of_order(request: HttpRequest, outage: Outage) -> HttpResponse:
    """Logged in one line: it is no mistake of ours that a traceback would help to find."""
    _log.warning("a request could not be answered", path=request.path, status=outage.status, reason=outage.message)
    response: HttpResponse
    if is_api(request):
        response = api.out_of_order(outage)
    else:
        page = render_to_string("frontend/errors/503.html", {"status": outage.status, "reason": outage.message})
        response = HttpResponse(page, status=outage.status)
    if outage.retry_after_s is not None:
        response.headers["Retry-After"] = str(outage.retry_after_s)
    response._has_been_logged = True  # type: ignore[attr-defined]  # Django's mark, by which it logs no traceback
    return response


def _other_address(request: HttpRequest) -> str:
    """Where the browser says the form comes from, when it is not where we say that we are; else empty."""
    source = request.headers.get("Origin", "") or _origin_of(request.headers.get("Referer", ""))
    return source if source not in {"", "null", _own_address(request)} else ""


def _own_address(request: HttpRequest) -> str:
    return get_config().origin or f"{request.scheme}://{request.get_host()}"


def _origin_of(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
