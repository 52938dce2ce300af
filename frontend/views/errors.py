"""What is shown when a page cannot be: in the console's form, or in the API's for addresses under `/api/`."""

from __future__ import annotations

from typing import Final

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from registry_core.api import views as api
from registry_core.api.errors import error_body

HOST_REFUSED: Final = "this registry is not known by the host name of the request: use its external URL"


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: nothing there, or nothing that this user may see; the page does not tell which."""
    if _is_api(request):
        return api.not_found(request)
    return render(request, "frontend/errors/404.html", status=404)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400: a request that Django itself refuses. Neither the host nor the session that it names is looked at again."""
    message = HOST_REFUSED if isinstance(exception, DisallowedHost) else "the request cannot be understood"
    if request.path_info.startswith(("/api/", "/c/")):
        return JsonResponse(error_body(400, message), status=400)
    return HttpResponse(f"{message}\n", status=400, content_type="text/plain; charset=utf-8")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403: known, and not allowed."""
    return render(request, "frontend/errors/403.html", status=403)


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403: the form is older than the session, or came from another site."""
    return render(request, "frontend/errors/403.html", {"is_form_stale": True}, status=403)


def server_error(request: HttpRequest) -> HttpResponse:
    """500. Rendered without the request: whose session it is may be just what could not be read."""
    if _is_api(request):
        return api.server_error(request)
    return HttpResponse(render_to_string("frontend/errors/500.html"), status=500)


def _is_api(request: HttpRequest) -> bool:
    return request.path_info.startswith("/api/")
