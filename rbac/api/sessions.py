"""Sessions outside `/api/v2.0`: sign in and out with a form, and check whether a name is taken, as Harbor's clients do.

Signing in needs no CSRF token, since those clients do not have one yet. What the token prevents, that another site
signs visitors in or out, is prevented by checking the origin that browsers send.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Final

from django.contrib.auth import login, logout
from django.db.models.functions import Lower
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_POST
from rest_framework.request import Request
from rest_framework.response import Response

from rbac.models import User
from rbac.services.sign_ins import sign_in
from rbac.services.users import allows_sign_up
from registry_core.access import Subject, SubjectKind
from registry_core.api.authentication import CSRF_HEADER
from registry_core.api.base import ApiView
from registry_core.api.causes import client_of
from registry_core.api.errors import exception_handler
from registry_core.api.middleware import from_another_site
from registry_core.api.permissions import ANYONE, SYSADMIN, Computed
from registry_core.errors import InvalidInput, NotAllowed
from registry_core.http.cross_site import FOREIGN

BACKEND: Final = "django.contrib.auth.backends.ModelBackend"
View = Callable[[HttpRequest], HttpResponse]


def as_api_view(view: View) -> View:
    """Common behaviour of the views here: errors in the API's form, no caching, no requests from other sites."""

    @wraps(view)
    @never_cache
    def guarded(request: HttpRequest) -> HttpResponse:
        try:
            if from_another_site(request):  # also of a GET, which ends a session here
                raise NotAllowed(FOREIGN)
            return view(request)
        except Exception as error:
            answer = exception_handler(error, {})
            if answer is None:
                raise
            return answer

    return guarded


@csrf_exempt
@require_POST
@sensitive_post_parameters("password")
@as_api_view
def log_in(request: HttpRequest) -> HttpResponse:
    """`POST /c/login`, form `principal` and `password`: 200 with a session, 401, 403 for a robot, 429."""
    user = sign_in(
        username=request.POST.get("principal", "").strip(),
        password=request.POST.get("password", ""),
        client=client_of(request),
    )
    login(request, user, backend=BACKEND)  # also renews the session's id and the browser's CSRF token
    return HttpResponse(headers={CSRF_HEADER: get_token(request)})


@require_GET
@as_api_view
def log_out(request: HttpRequest) -> HttpResponse:
    """`GET /c/log_out`: end the session, if there is one."""
    logout(request)
    return HttpResponse()


class UserExistsView(ApiView):
    """`POST /c/userExists`, form `target` (username or email) and `value`: true or false.

    For administrators, and for everybody if people can sign up: otherwise it would reveal who has an account.
    """

    access = {"POST": Computed(lambda _: ANYONE if allows_sign_up() else SYSADMIN, is_for_anybody=True)}
    works_read_only = True
    schema = None

    def post(self, request: Request) -> Response:
        """Check whether a living user has the name or the address."""
        form = request._request.POST
        column, value = form.get("target", ""), form.get("value", "")
        if column not in ("username", "email") or "\x00" in value:
            raise InvalidInput("target is username or email")
        living = User.objects.filter(deleted_at=None).alias(key=Lower(column))
        return Response(bool(value) and living.filter(key=value.lower()).exists())


def _client(request: HttpRequest) -> str:
    return str(request.META.get("REMOTE_ADDR", ""))


def _subject(request: HttpRequest) -> Subject:
    return Subject(SubjectKind.USER, int(request.user.pk or 0), request.user.get_username())
