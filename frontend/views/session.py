"""Signing in and out of the console with the password of a user."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from django.contrib.auth import login, logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from frontend.views.shared import NEXT
from rbac.models import User
from rbac.services.sign_ins import sign_in as authenticated
from registry_core.access import TooManyAttempts, Unauthenticated
from registry_core.api.causes import client_of
from registry_core.errors import NotAllowed

WRONG: Final = "The user name or password is wrong."
ROBOT: Final = "Robot accounts cannot sign in to the console. Use one with docker login or the API."
BACKEND: Final = "django.contrib.auth.backends.ModelBackend"
# A path of plain elements, perhaps with a query: no host (`//`, `/\`, `@`), nothing encoded in the path, one line.
# No two repetitions can take the same character, so that it takes a time that grows with the length alone.
_LOCAL_PATH: Final = re.compile(r"/(?:[A-Za-z0-9._~-]+(?:/[A-Za-z0-9._~-]+)*/?)?(?:\?[A-Za-z0-9._~/=&%+-]*)?")
_ENCODED_TRICK: Final = re.compile(r"%(?:5c|0a|0d|40|00)", re.IGNORECASE)
_NEXT_MAX: Final = 2000


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a sign-in failed: what the page says, and the answer's status."""

    message: str
    status: int
    retry_after_s: int = 0


@require_safe
@never_cache
def home(request: HttpRequest) -> HttpResponse:
    """The console's front door."""
    return redirect("projects" if request.user.is_authenticated else "sign-in")


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@csrf_protect
@sensitive_post_parameters("password")
def sign_in(request: HttpRequest) -> HttpResponse:
    """The sign-in page, and what its form is sent to."""
    goal = local_path(request.POST.get(NEXT) or request.GET.get(NEXT) or "")
    if request.method == "POST":
        return _signed_in(request, goal)
    if request.user.is_authenticated:
        return redirect(goal)
    return render(request, "frontend/sign_in.html", {"next": goal})


@require_POST
@csrf_protect
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session here and in the database."""
    logout(request)
    return redirect("sign-in")


def local_path(address: str) -> str:
    """`address` when it is a path of this site and nothing else, the project list otherwise."""
    is_local = len(address) <= _NEXT_MAX and _LOCAL_PATH.fullmatch(address) and not _ENCODED_TRICK.search(address)
    return address if is_local else reverse("projects")


def _signed_in(request: HttpRequest, goal: str) -> HttpResponse:
    outcome = _authenticated(request)
    if isinstance(outcome, Refusal):
        return _refused(request, outcome, goal)
    login(request, outcome, backend=BACKEND)  # also gives the session a new id and the form a new token
    return redirect(goal)


def _authenticated(request: HttpRequest) -> User | Refusal:
    try:
        return authenticated(
            username=request.POST.get("username", "").strip(),
            password=request.POST.get("password", ""),
            client=client_of(request),
        )
    except Unauthenticated:
        return Refusal(WRONG, 401)
    except NotAllowed:
        return Refusal(ROBOT, 403)
    except TooManyAttempts as error:
        return Refusal(_throttled_message(error.retry_after_s), 429, error.retry_after_s)


def _client(request: HttpRequest) -> str:
    return str(request.META.get("REMOTE_ADDR", ""))


def _throttled_message(retry_after_s: int) -> str:
    unit = "second" if retry_after_s == 1 else "seconds"
    return f"Too many attempts. Wait {retry_after_s} {unit}, then try again."


def _refused(request: HttpRequest, refusal: Refusal, goal: str) -> HttpResponse:
    context = {"next": goal, "error": refusal.message, "username": request.POST.get("username", "")[:255]}
    response = render(request, "frontend/sign_in.html", context, status=refusal.status)
    if refusal.retry_after_s:
        response["Retry-After"] = str(refusal.retry_after_s)
    return response
