"""Bearer tokens: compact JWS (RFC 7515, 7519) signed by our own Ed25519 keys, and nothing else.

The header may only have `alg`, `kid`, `typ` and `zip`: a token that brings its own key (`jwk`, `jku`, `x5c`), or names
another algorithm or an unknown key, is refused before any of it is trusted. Verification uses no database; the caller
compares the credential version `cv` with the current one, which it caches by generation.

The claims of a token for many repositories are deflated (`zip` `DEF`, as in JWE): proxies limit a header to some 8 KiB.
"""

from __future__ import annotations

import re
import secrets
import time
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec
from cryptography.exceptions import InvalidSignature

from registry_core.access import NO_ACTIONS, Subject, subject_with_key
from registry_core.tokens.keys import TOKEN_LIFE_MAX_S, SigningKey, key_ring

ISSUER: Final = "portolan"
AUDIENCE: Final = "harbor-registry"
LEEWAY_S: Final = 60
TOKEN_MAX_CHARS: Final = 65_536
CLAIMS_MAX_BYTES: Final = 1 << 20
DEFLATED_FROM_BYTES: Final = 5500  # some clients read `exp` from a token, so tokens that pass a proxy stay readable
_RAW_DEFLATE: Final = -zlib.MAX_WBITS
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_SUBJECT: Final = re.compile(r"(anonymous|user|robot|system):([0-9]{1,18})")


class TokenError(Exception):
    """Not a token of ours, or not valid now. The message says no more, whatever is wrong."""

    def __init__(self) -> None:
        super().__init__("the token is not valid: fetch a new one")


class TokenTooLarge(Exception):
    """The token would exceed the accepted size; the message says what to do."""

    def __init__(self, grants: int) -> None:
        super().__init__(
            f"a token for these {grants} scopes would be larger than {TOKEN_MAX_CHARS} characters: "
            "ask for fewer repositories at a time"
        )


class Grant(msgspec.Struct, frozen=True):
    """What a token allows on one resource, bound to the ids `pid` (project) and `rid` (repository).

    `rid` is null if no repository of that name existed when the token was minted; both are null if nothing is allowed.
    `is_push_refused`: push was requested but not granted, so a client with this token is about to push.
    """

    type: str
    name: str
    actions: tuple[str, ...]
    pid: int | None = None
    rid: int | None = None
    is_push_refused: bool = False


class Claims(msgspec.Struct, frozen=True):
    """The content of a verified token. `iat`, `nbf` and `exp` in seconds since the epoch; `cv` is the credential
    version."""

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
        """The subject of the token."""
        return subject_with_key(self.sub, self.name)

    def actions_on(
        self, *, name: str, project_id: int, repository_id: int | None, created_at: datetime | None
    ) -> frozenset[str]:
        """The actions granted on the repository that now has this full name and these ids.

        A grant minted before the repository existed applies to no repository, or to one that was created after the
        token; not to a repository of that name that was deleted then and restored since.
        """
        granted: set[str] = set()
        for grant in self.access:
            if (grant.type, grant.name, grant.pid) != ("repository", name, project_id):
                continue
            if grant.rid == repository_id or (grant.rid is None and self._is_younger(created_at)):
                granted.update(grant.actions)
        return NO_ACTIONS | granted

    def grants_push(self, name: str) -> bool:
        """Whether the token grants push to the repository with this full name."""
        return any(
            "push" in grant.actions and (grant.type, grant.name) == ("repository", name) for grant in self.access
        )

    def is_push_refused(self, name: str) -> bool:
        """Whether push to the repository with this full name was requested for the token, but not granted."""
        return any(grant.is_push_refused and (grant.type, grant.name) == ("repository", name) for grant in self.access)

    def may(self, *, type: str, name: str, action: str) -> bool:
        """Whether the token allows `action` on a resource that is not a repository, such as `registry` `catalog`."""
        return any((grant.type, grant.name) == (type, name) and action in grant.actions for grant in self.access)

    def _is_younger(self, created_at: datetime | None) -> bool:
        return created_at is not None and created_at.timestamp() >= self.iat - LEEWAY_S


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    alg: Literal["EdDSA"]
    kid: str
    typ: Literal["JWT"]
    zip: Literal["DEF"] | None = None


_decode_header: Final = msgspec.json.Decoder(_Header).decode
_decode_claims: Final = msgspec.json.Decoder(Claims).decode
_encode: Final = msgspec.json.Encoder().encode


def mint(*, subject: Subject, grants: Sequence[Grant], ttl_s: int, credential_version: int) -> str:
    """A token for `subject` with `grants` for `ttl_s` seconds. Raises ValueError for more than a day, and TokenTooLarge
    if `verify` would not accept it."""
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
    token = _signed(claims, key_ring().signing())
    if len(token) > TOKEN_MAX_CHARS:
        raise TokenTooLarge(len(grants))
    return token


def verify(token: str) -> Claims:
    """The content of a token, if it is ours and valid now. Raises TokenError, and nothing else, for any input."""
    parts = _COMPACT.fullmatch(token) if len(token) <= TOKEN_MAX_CHARS else None
    if parts is None:
        raise TokenError
    header, payload, signature = parts.groups()
    is_deflated = _check_signature(header, f"{header}.{payload}".encode(), signature)
    try:
        content = _unbase64url(payload)
        claims = _decode_claims(_inflated(content) if is_deflated else content)
    except (ValueError, zlib.error, msgspec.MsgspecError):
        raise TokenError from None
    if not _is_valid(claims, time.time()):
        raise TokenError
    return claims


def _check_signature(header: str, signed: bytes, signature: str) -> bool:
    """Whether the claims of a token signed by one of our keys are deflated. Raises TokenError for any other token."""
    try:
        parsed = _decode_header(_unbase64url(header))
        raw_signature = _unbase64url(signature)
    except (ValueError, msgspec.MsgspecError):
        raise TokenError from None
    key = key_ring().verifying(parsed.kid)
    if key is None:
        raise TokenError
    try:
        key.public.verify(raw_signature, signed)
    except InvalidSignature:
        raise TokenError from None
    return parsed.zip is not None


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
    payload = _encode(claims)
    is_deflated = len(payload) > DEFLATED_FROM_BYTES
    if len(payload) > CLAIMS_MAX_BYTES:
        raise TokenTooLarge(len(claims.access))
    header = _Header(alg="EdDSA", kid=key.kid, typ="JWT", zip="DEF" if is_deflated else None)
    content = f"{_base64url(_encode(header))}.{_base64url(_deflated(payload) if is_deflated else payload)}"
    return f"{content}.{_base64url(key.private.sign(content.encode()))}"


def _deflated(content: bytes) -> bytes:
    return zlib.compress(content, wbits=_RAW_DEFLATE)


def _inflated(content: bytes) -> bytes:
    """Only for claims that one of our keys has signed, and up to the largest size that is ever minted. Raises
    zlib.error."""
    inflater = zlib.decompressobj(_RAW_DEFLATE)
    inflated = inflater.decompress(content, CLAIMS_MAX_BYTES)
    if not inflater.eof:
        raise zlib.error("the claims are cut short, or longer than they may be")
    return inflated


def _base64url(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _unbase64url(text: str) -> bytes:
    """The bytes. Raises ValueError unless `text` is their canonical form (RFC 4648, section 3.5), so that a token has
    one form."""
    content = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _base64url(content) != text:
        raise ValueError("not canonical base64url")
    return content
