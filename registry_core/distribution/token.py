"""`GET` and `POST /service/token`: exchanges credentials for a bearer token.

GET takes Basic credentials or none (docker's "Token Authentication Specification"), POST a form with the OAuth2 grant
types `password` and `refresh_token` ("OAuth2 Token Authentication"). Requested scopes that are not allowed are left
out.

Clients that get a refresh token store it in place of the password, and other programs that read the password from there
fail. So new ones are issued only if the setting `refresh_tokens` says so; existing ones stay valid.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qs

import msgspec

from registry_core.access import (
    ANONYMOUS,
    CLIENT,
    Cause,
    Subject,
    SubjectKind,
    TooManyAttempts,
    Unauthenticated,
    authority,
    refresh_tokens,
)
from registry_core.config import get_config
from registry_core.distribution.grants import Living, grants_for, grants_on, names_in
from registry_core.distribution.guards import locate_all, standings_in
from registry_core.distribution.identity import Identity, identify
from registry_core.distribution.services import Services
from registry_core.http.cross_site import FOREIGN, is_foreign, is_from_browser
from registry_core.http.messages import BodyTooLarge, Header, Request, Response, json_response
from registry_core.http.threads import run_sign_in
from registry_core.settings_store.values import acurrent, current
from registry_core.storage.outages import outage_of
from registry_core.tokens.jwt import AUDIENCE, Grant, TokenTooLarge, mint
from registry_core.tokens.scopes import Scope, parse_scopes

FORM_MAX_BYTES: Final = 65_536
FIELDS_MAX: Final = 4096  # more than the scopes that fit into a URL or a form
BASIC_CHALLENGE: Final = 'Basic realm="portolan"'
_WRONG: Final = "the user name or the password is wrong"


class BadTokenRequest(Exception):
    """Not a valid token request; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name and a secret, as presented."""

    username: str
    secret: str


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """The content of one request. `request_id`: of the request, in the logs. `is_offline`: a refresh token as well."""

    client: str
    request_id: str
    scopes: list[Scope]
    credentials: Credentials | None
    refresh_token: str | None = None
    is_offline: bool = False
    device: str = ""


class TokenAnswer(msgspec.Struct, omit_defaults=True):
    """The answer's JSON. `expires_in` in seconds, `issued_at` as in RFC 3339."""

    token: str
    access_token: str
    expires_in: int
    issued_at: str
    refresh_token: str | None = None


async def service_token(request: Request, services: Services | None = None) -> Response:
    """Answer a token request: 200, 400, 401, 413, 429, 503 or 507; 405 for other methods.

    With `services` the usual request is answered from the worker's caches, without the database.
    """
    try:
        asked = await _parse(request)
        if (request.method == "POST" or asked.is_offline) and is_foreign(
            request.headers, own_origins=request.own_origins
        ):
            return _error(403, "DENIED", FOREIGN)
        if services is not None and _is_usual(asked, request):
            answer, subject = await _issue_by_caches(asked, request, services)
        else:
            answer, subject = await run_sign_in(issue, asked)
    except Unauthenticated as error:
        # A browser would prompt for a password, store it, and send it along with requests that other sites cause here.
        challenge = [] if is_from_browser(request.headers) else [("www-authenticate", BASIC_CHALLENGE)]
        return _error(401, "UNAUTHORIZED", str(error), *challenge)
    except TooManyAttempts as error:
        return _error(429, "TOOMANYREQUESTS", str(error), ("retry-after", str(error.retry_after_s)))
    except BodyTooLarge:
        return _error(413, "REQUEST_ENTITY_TOO_LARGE", f"the form may have {FORM_MAX_BYTES} bytes")
    except (BadTokenRequest, TokenTooLarge) as error:
        return _error(400, "BAD_REQUEST", str(error))
    except Exception as error:
        outage = outage_of(error)
        if outage is None:
            raise
        wait = [("retry-after", str(outage.retry_after_s))] if outage.retry_after_s is not None else []
        return _error(outage.status, "UNAVAILABLE", outage.message, *wait)
    request.user = subject.name
    return json_response(200, answer, [("cache-control", "no-store")])


def issue(asked: TokenRequest) -> tuple[TokenAnswer, Subject]:
    """Authenticate, look up the grants and mint. Raises Unauthenticated or TooManyAttempts."""
    subject = _subject(asked)
    if subject.is_anonymous and not asked.scopes:
        raise Unauthenticated("sign in, or name a scope")
    ttl_s = current().token_ttl_s
    # The version is read before the permissions: a change in between makes the token invalid, never too powerful.
    version = authority().credential_version(subject)
    if version < 0:
        raise Unauthenticated(_WRONG)
    grants = grants_for(subject=subject, scopes=asked.scopes)
    token = mint(subject=subject, grants=grants, ttl_s=ttl_s, credential_version=version)
    return TokenAnswer(token, token, ttl_s, _now(), _refresh_token(asked, subject)), subject


def _is_usual(asked: TokenRequest, request: Request) -> bool:
    """Whether the request is Basic or anonymous, for repositories: what clients send before each pull and push."""
    is_simple = request.method == "GET" and asked.refresh_token is None and not asked.is_offline
    is_understood = asked.credentials is not None or "authorization" not in request.headers
    return is_simple and is_understood and all(scope.type == "repository" for scope in asked.scopes)


async def _issue_by_caches(asked: TokenRequest, request: Request, services: Services) -> tuple[TokenAnswer, Subject]:
    identity = await identify(request, services)
    subject, version = identity.subject, identity.credential_version
    if (subject.is_anonymous and not asked.scopes) or version < 0:
        raise Unauthenticated("sign in, or name a scope" if version >= 0 else _WRONG)
    ttl_s = (await acurrent()).token_ttl_s
    grants = await _grants_by_caches(identity, asked.scopes, services)
    token = mint(subject=subject, grants=grants, ttl_s=ttl_s, credential_version=version)
    return TokenAnswer(token, token, ttl_s, _now()), subject


async def _grants_by_caches(identity: Identity, scopes: Sequence[Scope], services: Services) -> list[Grant]:
    names = names_in(scopes)
    standings = await standings_in(services, identity, {name.project for name in names.values()})
    projects = {name: standing.project for name in names.values() if (standing := standings[name.project]).actions}
    located = await locate_all(services, projects)
    living = Living(
        {name.project: project.id for name, project in projects.items() if project is not None},
        {name: found.repository.id for name, found in located.items() if found.repository is not None},
    )
    held = {standing.project.id: standing.actions for standing in standings.values() if standing.project is not None}
    return grants_on(subject=identity.subject, scopes=scopes, names=names, living=living, held=held)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _subject(asked: TokenRequest) -> Subject:
    if asked.refresh_token is not None:
        issuer = refresh_tokens()
        if issuer is None:
            raise Unauthenticated("refresh tokens are not supported here: sign in with a password")
        return issuer.redeem_refresh_token(token=asked.refresh_token, client=asked.client)
    if asked.credentials is None:
        return ANONYMOUS
    name, secret = asked.credentials.username, asked.credentials.secret
    return authority().authenticate(username=name, secret=secret, client=asked.client)


def _refresh_token(asked: TokenRequest, subject: Subject) -> str | None:
    """A new refresh token for a user whose client requests one, if they are issued; a request with a refresh token gets
    the same one back.

    Never for a robot: its secret is made for programs to store, and may outlive the refresh token.
    """
    issuer = refresh_tokens()
    if asked.refresh_token is not None:
        return asked.refresh_token
    if not asked.is_offline or subject.kind is not SubjectKind.USER or issuer is None:
        return None
    cause = Cause(subject, asked.client, CLIENT, asked.request_id)
    return issuer.issue_refresh_token(device=asked.device, cause=cause)


async def _parse(request: Request) -> TokenRequest:
    if request.method == "POST":
        return _parse_form(request, await request.read(limit_bytes=FORM_MAX_BYTES))
    fields = _fields(request.query_string)
    _check_service(fields)
    return TokenRequest(
        client=request.address,
        request_id=request.id,
        scopes=parse_scopes(fields.get("scope", [])),
        credentials=basic_credentials(request.headers.get("authorization", "")),
        is_offline=get_config().refresh_tokens and _last(fields, "offline_token").lower() in {"true", "1"},
        device=_last(fields, "client_id"),
    )


def _parse_form(request: Request, body: bytes) -> TokenRequest:
    fields = _fields(body.decode(errors="replace"))
    _check_service(fields)
    grant_type = _last(fields, "grant_type")
    if grant_type not in {"password", "refresh_token"}:
        raise BadTokenRequest("grant_type must be password or refresh_token")
    is_password = grant_type == "password"
    return TokenRequest(
        client=request.address,
        request_id=request.id,
        scopes=parse_scopes(fields.get("scope", [])),
        credentials=Credentials(_last(fields, "username"), _last(fields, "password")) if is_password else None,
        refresh_token=None if is_password else _last(fields, "refresh_token"),
        is_offline=get_config().refresh_tokens and _last(fields, "access_type") == "offline",
        device=_last(fields, "client_id"),
    )


def basic_credentials(header: str) -> Credentials | None:
    """The credentials of an `Authorization` header (RFC 7617); None if there is none. Raises Unauthenticated."""
    if not header:
        return None
    scheme, _, encoded = header.partition(" ")
    try:
        username, colon, secret = b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise Unauthenticated(_WRONG) from None
    if scheme.lower() != "basic" or not colon:
        raise Unauthenticated(_WRONG)
    return Credentials(username, secret)


def _fields(text: str) -> dict[str, list[str]]:
    try:
        return parse_qs(text, keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise BadTokenRequest(f"the request has more than {FIELDS_MAX} parameters: send fewer") from None


def _last(fields: dict[str, list[str]], name: str) -> str:
    return fields.get(name, [""])[-1]


def _check_service(fields: dict[str, list[str]]) -> None:
    if _last(fields, "service") not in {"", AUDIENCE}:
        raise BadTokenRequest(f"this endpoint issues no tokens for that service: use service={AUDIENCE}")


def _error(status: int, code: str, message: str, *headers: Header) -> Response:
    return json_response(status, {"errors": [{"code": code, "message": message}]}, list(headers))
