"""Authentication of REST requests: Basic credentials of users and robots, a console session, or an identity provider's
Bearer token.

Basic needs no CSRF token. A session needs one for every change: it comes in the response header `X-Harbor-CSRF-Token`
and is sent back in the same header. Wrong credentials are 401 everywhere, even where none are needed, since the client
expects them to be checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware, get_token
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from registry_core.access import ANONYMOUS, Subject, SubjectKind
from registry_core.distribution.identity import check_basic, credentials_key, identity_cache
from registry_core.distribution.token import BASIC_CHALLENGE, basic_credentials

CSRF_HEADER: Final = "X-Harbor-CSRF-Token"
IN_SESSION: Final = "portolan.session"
USER: Final = "portolan.user"
"""In the request's environment: the caller's name, for the access log."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The subject in the form in which DRF carries it: `request.user`."""

    subject: Subject

    @property
    def is_authenticated(self) -> bool:
        return not self.subject.is_anonymous


NOBODY: Final = Caller(ANONYMOUS)


def nobody() -> Caller:
    """The caller of a request without credentials."""
    return NOBODY


def subject_of(request: Request) -> Subject:
    """The subject of a request."""
    caller = request.user
    return caller.subject if isinstance(caller, Caller) else ANONYMOUS


class BasicAuthentication(BaseAuthentication):
    """RFC 7617: a user with its password or CLI secret, or a robot with its secret."""

    def authenticate(self, request: Request) -> tuple[Caller, str] | None:
        """The caller; None without Basic credentials. Raises Unauthenticated or TooManyAttempts."""
        header = request.META.get("HTTP_AUTHORIZATION", "")
        if header[:6].lower() != "basic ":
            return None
        identity = identity_cache.get(credentials_key(header))
        subject = identity.subject if identity else _checked(header, str(request.META.get("REMOTE_ADDR", "")))
        request.META[USER] = subject.name
        return Caller(subject), "basic"

    def authenticate_header(self, _request: Request) -> str:
        return BASIC_CHALLENGE


def is_cached(header: str) -> bool:
    """Whether the cache has these credentials as checked."""
    return identity_cache.get(credentials_key(header)) is not None


def _checked(header: str, client: str) -> Subject:
    credentials = basic_credentials(header)
    if credentials is None:
        return ANONYMOUS
    name, secret = credentials.username, credentials.secret
    return check_basic(credentials_key(header), username=name, secret=secret, client=client).subject


class SessionAuthentication(BaseAuthentication):
    """The console's cookie; what changes something needs the CSRF token as well."""

    def authenticate(self, request: Request) -> tuple[Caller, str] | None:
        """The caller; None without a session. Raises PermissionDenied if the CSRF token is missing or wrong."""
        user = getattr(request._request, "user", None)
        if user is None or isinstance(user, AnonymousUser) or not user.is_authenticated:
            return None
        request.META[IN_SESSION] = True
        request.META[USER] = user.get_username()
        self._enforce_csrf(request)
        return Caller(Subject(SubjectKind.USER, user.pk, user.get_username())), "session"

    def _enforce_csrf(self, request: Request) -> None:
        check = _CsrfCheck(lambda _request: HttpResponse())
        check.process_request(request._request)
        reason = check.process_view(request._request, HttpResponse, (), {})
        if reason:
            raise PermissionDenied(f"send the header {CSRF_HEADER} with the value from the last answer: {reason}")


class _CsrfCheck(CsrfViewMiddleware):
    def _reject(self, _request: object, reason: str) -> str:
        return reason


class BearerAuthentication(BaseAuthentication):
    """An identity provider's token. Tokens of `/service/token` are not accepted here: they are for content."""

    def authenticate(self, request: Request) -> tuple[Caller, str] | None:
        """None without a Bearer token. Raises AuthenticationFailed."""
        if request.META.get("HTTP_AUTHORIZATION", "")[:7].lower() != "bearer ":
            return None
        raise AuthenticationFailed("no identity provider is configured, so Bearer tokens are refused: use Basic")


def csrf_token(request: Request) -> str:
    """The token that the session's next change must send back."""
    return get_token(request._request)
