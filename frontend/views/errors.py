"""What is shown when a page cannot be: in the console's form, or in the API's for addresses under `/api/`."""

from __future__ import annotations

import sys

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from registry_core.api import views as api
from registry_core.api.errors import RETRY_AFTER_S
from registry_core.database.reads import is_over_limit


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: nothing there, or nothing that this user may see; the page does not tell which."""
    if _is_api(request):
        return api.not_found(request)
    return render(request, "frontend/errors/404.html", status=404)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403: known, and not allowed."""
    return render(request, "frontend/errors/403.html", status=403)


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403: the form is older than the session, or came from another site."""
    return render(request, "frontend/errors/403.html", {"is_form_stale": True}, status=403)


def server_error(request: HttpRequest) -> HttpResponse:
    """500, or 503 for a list that took too long to read. Rendered without the request: whose session it is may be just
    what could not be read."""
    if _is_api(request):
        return api.server_error(request)
    error = sys.exc_info()[1]
    if error is not None and is_over_limit(error):
        page = render_to_string("frontend/errors/503.html")
        return HttpResponse(page, status=503, headers={"Retry-After": str(RETRY_AFTER_S)})
    return HttpResponse(render_to_string("frontend/errors/500.html"), status=500)


def _is_api(request: HttpRequest) -> bool:
    return request.path_info.startswith("/api/")
