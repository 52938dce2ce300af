"""Authentication of REST requests: Basic credentials of users and robots, a console session, or an identity provider's
Bearer token.

Basic needs no CSRF token. A session needs one for every change: it comes in the response header `X-Harbor-CSRF-Token`
and is sent back in the same header. Wrong credentials are 401 everywhere, even where none are needed, since the client
expects them to be checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Final

from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware, get_token
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from registry_core.access import ANONYMOUS, Subject, SubjectKind, authority, ends_at_s, remembered_for_s
from registry_core.caching.shared import Memory
from registry_core.distribution.token import BASIC_CHALLENGE, Credentials, basic_credentials

CSRF_HEADER: Final = "X-Harbor-CSRF-Token"
IN_SESSION: Final = "portolan.session"
USER: Final = "portolan.user"
"""In the request's environment: the caller's name, for the access log."""
_known: Memory[Subject] = Memory("callers")


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
        key = sha256(header.encode()).digest()
        subject = _known.get(key)
        if subject is None:
            subject = _checked(basic_credentials(header), key, str(request.META.get("REMOTE_ADDR", "")))
        request.META[USER] = subject.name
        return Caller(subject), "basic"

    def authenticate_header(self, _request: Request) -> str:
        return BASIC_CHALLENGE


def is_known(header: str) -> bool:
    """Whether the cache has these credentials as checked."""
    return _known.get(sha256(header.encode()).digest()) is not None


def _checked(credentials: Credentials | None, key: bytes, client: str) -> Subject:
    if credentials is None:
        return ANONYMOUS
    check = partial(authority().authenticate, username=credentials.username, secret=credentials.secret, client=client)
    subject = check()
    # The generation to depend on is known only now: check again under it, which costs no password hash.
    return _known.fill(key, check, depends_on=[subject.key], ttl_s=_life_s)


def _life_s(subject: Subject) -> float:
    return remembered_for_s(ends_at_s(subject))


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
