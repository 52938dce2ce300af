"""Bearer tokens: compact JWS (RFC 7515, 7519) by our own Ed25519 keys, and nothing else.

The header may hold `alg`, `kid` and `typ` only: a token that brings its own key (`jwk`, `jku`, `x5c`), names another
algorithm or an unknown key is refused before anything in it is believed. Verifying asks no database; whether the
subject's credentials are still of the version `cv`, the caller compares with what it remembers by the generations.
"""

from __future__ import annotations

import re
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec
from cryptography.exceptions import InvalidSignature

from registry_core.access import NO_ACTIONS, Subject, SubjectKind
from registry_core.tokens.keys import TOKEN_LIFE_MAX_S, SigningKey, key_ring

ISSUER: Final = "portolan"
AUDIENCE: Final = "harbor-registry"
LEEWAY_S: Final = 60
TOKEN_MAX_CHARS: Final = 65_536
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_SUBJECT: Final = re.compile(r"(anonymous|user|robot|system):([0-9]{1,18})")


class TokenError(Exception):
    """Not a token of ours, or not valid now. Says no more, whatever is wrong."""

    def __init__(self) -> None:
        super().__init__("the token is not valid: fetch a new one")


class Grant(msgspec.Struct, frozen=True):
    """What a token allows on one resource, bound to the ids `pid` (project) and `rid` (repository).

    `rid` is null when no repository of that name lived when the token was made; both are where nothing is allowed.
    `is_push_refused`: push was asked for and is not allowed, so whoever comes with this token is about to push.
    """

    type: str
    name: str
    actions: tuple[str, ...]
    pid: int | None = None
    rid: int | None = None
    is_push_refused: bool = False


class Claims(msgspec.Struct, frozen=True):
    """What a verified token says. `iat`, `nbf` and `exp` in seconds since the epoch; `cv` is the credential version."""

    iss: str
    aud: str
    sub: str
    name: str
    iat: int
    nbf: int
    exp: int
    jti: str
    cv: int
    access: tuple[Grant, ...]

    @property
    def subject(self) -> Subject:
        """Who the token was made for."""
        kind, _, number = self.sub.partition(":")
        return Subject(SubjectKind[kind.upper()], int(number), self.name)

    def actions_on(
        self, *, name: str, project_id: int, repository_id: int | None, created_at: datetime | None
    ) -> frozenset[str]:
        """The actions granted on the repository that now has this full name and these ids.

        A grant made before the repository was holds for none, or for one that was created after the token: not for a
        repository of that name that was deleted then and has been restored since.
        """
        granted: set[str] = set()
        for grant in self.access:
            if (grant.type, grant.name, grant.pid) != ("repository", name, project_id):
                continue
            if grant.rid == repository_id or (grant.rid is None and self._is_younger(created_at)):
                granted.update(grant.actions)
        return NO_ACTIONS | granted

    def is_push_refused(self, name: str) -> bool:
        """Whether the token was asked for to push to the repository of this full name, and does not allow it."""
        return any(grant.is_push_refused and (grant.type, grant.name) == ("repository", name) for grant in self.access)

    def may(self, *, type: str, name: str, action: str) -> bool:
        """Whether the token allows `action` on something that is no repository, such as `registry` `catalog`."""
        return any((grant.type, grant.name) == (type, name) and action in grant.actions for grant in self.access)

    def _is_younger(self, created_at: datetime | None) -> bool:
        return created_at is not None and created_at.timestamp() >= self.iat - LEEWAY_S


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: Literal["EdDSA"]
    kid: str
    typ: Literal["JWT"]


_decode_header: Final = msgspec.json.Decoder(_Header).decode
_decode_claims: Final = msgspec.json.Decoder(Claims).decode
_encode: Final = msgspec.json.Encoder().encode


def mint(*, subject: Subject, grants: Sequence[Grant], ttl_s: int, credential_version: int) -> str:
    """A token for `subject` that allows `grants` for `ttl_s` seconds. Raises ValueError for more than a day."""
    if not 0 < ttl_s <= TOKEN_LIFE_MAX_S:
        raise ValueError(f"a token lives 1 to {TOKEN_LIFE_MAX_S} seconds, not {ttl_s}")
    now = int(time.time())
    claims = Claims(
        iss=ISSUER,
        aud=AUDIENCE,
        sub=subject.key,
        name=subject.name,
        iat=now,
        nbf=now,
        exp=now + ttl_s,
        jti=secrets.token_urlsafe(16),
        cv=credential_version,
        access=tuple(grants),
    )
    return _signed(claims, key_ring().signing())


def verify(token: str) -> Claims:
    """What a token says, when it is ours and valid now. Raises TokenError, and nothing else, whatever it is given."""
    parts = _COMPACT.fullmatch(token) if len(token) <= TOKEN_MAX_CHARS else None
    if parts is None:
        raise TokenError
    header, payload, signature = parts.groups()
    _check_signature(header, f"{header}.{payload}".encode(), signature)
    try:
        claims = _decode_claims(_unbase64url(payload))
    except (ValueError, msgspec.MsgspecError):
        raise TokenError from None
    if not _is_valid(claims, time.time()):
        raise TokenError
    return claims


def _check_signature(header: str, signed: bytes, signature: str) -> None:
    try:
        kid = _decode_header(_unbase64url(header)).kid
        raw_signature = _unbase64url(signature)
    except (ValueError, msgspec.MsgspecError):
        raise TokenError from None
    key = key_ring().verifying(kid)
    if key is None:
        raise TokenError
    try:
        key.public.verify(raw_signature, signed)
    except InvalidSignature:
        raise TokenError from None


def _is_valid(claims: Claims, now: float) -> bool:
    return (
        claims.iss == ISSUER
        and claims.aud == AUDIENCE
        and _SUBJECT.fullmatch(claims.sub) is not None
        and claims.cv >= 0
        and claims.nbf <= now + LEEWAY_S
        and claims.iat <= now + LEEWAY_S
        and now < claims.exp <= claims.iat + TOKEN_LIFE_MAX_S
    )


def _signed(claims: Claims, key: SigningKey) -> str:
    header = _Header(alg="EdDSA", kid=key.kid, typ="JWT")
    content = f"{_base64url(_encode(header))}.{_base64url(_encode(claims))}"
    return f"{content}.{_base64url(key.private.sign(content.encode()))}"


def _base64url(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _unbase64url(text: str) -> bytes:
    """Raises ValueError, also where the last character has bits that mean nothing: one token has one spelling."""
    content = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _base64url(content) != text:
        raise ValueError("not canonical base64url (RFC 4648, section 3.5)")
    return content
