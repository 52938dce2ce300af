"""What the console's pages have in common: who is signed in, what a list was asked for, whole page or part of one."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from frontend.queries import COUNT_MAX, PAGE_ROWS, Listing
from rbac.sessions import prolong
from registry_core.access import Subject, SubjectKind
from registry_core.config import get_config
from registry_core.names import NAME_MAX

NEXT: Final = "next"

View = Callable[..., HttpResponse]


def page(view: View) -> View:
    """A page for people who are signed in: anybody else is sent to the sign-in page, and from there back."""

    @wraps(view)
    @require_safe
    @never_cache
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.user.is_authenticated:
            if not _is_fragment_wanted(request):
                prolong(request.session)
            return view(request, *args, **kwargs)
        return _to_sign_in(request)

    return guarded


def subject_of(request: HttpRequest) -> Subject:
    """Who is signed in. The session's user was read, and found active, with this request."""
    user = request.user
    return Subject(SubjectKind.USER, int(user.pk or 0), user.get_username())


def listing_of(request: HttpRequest) -> Listing:
    """The list that the query asks for. What cannot be part of a name is left out."""
    return Listing(search=_name_part(request, "q"), after=_name_part(request, "after"))


def render_list(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """The page `template`, or only its rows (`<template>_rows`) when htmx asks for them."""
    if _is_fragment_wanted(request):
        template = f"{template}_rows"
    shared = {"host": registry_host(request), "page_rows": PAGE_ROWS, "count_max": COUNT_MAX}
    response = render(request, f"frontend/{template}.html", shared | context)
    patch_vary_headers(response, ["HX-Request"])
    return response


def registry_host(request: HttpRequest) -> str:
    """What stands before a repository's name in an image reference."""
    return get_config().authority or request.get_host()


def _to_sign_in(request: HttpRequest) -> HttpResponse:
    address = f"{reverse('sign-in')}?{urlencode({NEXT: request.get_full_path()}, safe='/')}"
    if _is_fragment_wanted(request):
        return HttpResponse(status=204, headers={"HX-Redirect": address})
    return redirect(address)


def _is_fragment_wanted(request: HttpRequest) -> bool:
    return "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers


def _name_part(request: HttpRequest, parameter: str) -> str:
    return request.GET.get(parameter, "").replace("\x00", "").strip()[:NAME_MAX]
