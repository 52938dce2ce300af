"""Authentication of a request: verifies the `Authorization` header once, and caches the result until it may have
changed."""

from __future__ import annotations

import base64
import binascii
import time
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from math import inf
from typing import TYPE_CHECKING

import msgspec

from registry_core.access import ANONYMOUS, Subject, Unauthenticated, authority, cacheable_for_s, ends_at_s
from registry_core.caching.cache import Cache
from registry_core.http import callers, threads
from registry_core.http.messages import Request
from registry_core.tokens.jwt import Claims, TokenError, verify

if TYPE_CHECKING:
    from registry_core.distribution.services import Services

GRANT_BYTES = 512  # in memory, for a grant of a token, which may be deflated


@dataclass(frozen=True, slots=True)
class Identity:
    """A subject, its token (None: it authenticated with its own credentials, or anonymously), and the version of its
    credentials.

    `rights` is equal for two identities that get the same answers to everything: clients fetch a new token for each
    pull, with the same content as the previous one.
    """

    subject: Subject
    claims: Claims | None
    credential_version: int
    rights: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rights", _rights_of(self.subject, self.claims))


def _rights_of(subject: Subject, claims: Claims | None) -> bytes:
    access = None if claims is None else claims.access
    # When the token was issued matters only for a repository that did not exist yet.
    made_at = claims.iat if claims is not None and any(grant.rid is None for grant in claims.access) else 0
    return sha256(msgspec.json.encode((subject.key, subject.name, access, made_at))).digest()


@dataclass(frozen=True, slots=True)
class Holder:
    """The account behind a credential, as currently stored. `expires_at_s`: epoch seconds at which it expires without
    any change (robots)."""

    subject: Subject
    credential_version: int
    expires_at_s: float


_NOBODY = Identity(ANONYMOUS, None, 0)
identity_cache: Cache[Identity] = Cache("identities", share=1 / 8)
"""By `credentials_key`; also of those who call the REST API by Basic."""
holder_cache: Cache[Holder] = Cache("holders", share=1 / 32)


def credentials_key(header: str) -> bytes:
    """The key of an identity in the cache: never the credentials themselves. Empty without an `Authorization`."""
    return sha256(header.encode()).digest() if header else b""


async def identify(request: Request, services: Services) -> Identity:
    """The identity behind a request. Raises Unauthenticated or TooManyAttempts."""
    header = request.headers.get("authorization", "")
    if not header:
        return _NOBODY
    key = credentials_key(header)
    identity = identity_cache.get(key)
    if identity is None:
        identity = await _verify(header, key, request, services)
    request.user = identity.subject.name
    callers.recognize(identity.subject)
    return identity


async def _verify(header: str, key: bytes, request: Request, services: Services) -> Identity:
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() == "bearer":
        return await _bearer(credentials.strip(), key, services)
    if scheme.lower() == "basic":
        username, secret = _name_and_secret(credentials.strip())
        check = partial(check_basic, key, username=username, secret=secret, client=request.address)
        # The generation that it depends on is known only afterwards: any of them may matter.
        seen = services.generations.total()
        return await services.signing_in.do((key, request.address), partial(threads.run_sign_in, check), seen=seen)
    raise Unauthenticated("the Authorization header is neither Basic nor Bearer")


async def _bearer(token: str, key: bytes, services: Services) -> Identity:
    try:
        claims = verify(token)
    except TokenError as error:
        raise Unauthenticated(str(error)) from None
    # For how long the identity is good, only the holder says, who is not a part of it: so not by `aread_through`.
    seen = identity_cache.begin([claims.subject.key])
    holder = await _holder(claims.subject, services)
    if holder.credential_version != claims.cv:
        raise Unauthenticated("the token was revoked")
    identity = Identity(holder.subject, claims, claims.cv)
    left_s = cacheable_for_s(holder.expires_at_s, at_most_s=claims.exp - time.time())
    size_bytes = 1024 + 4 * len(token) + sum(GRANT_BYTES + len(grant.name) for grant in claims.access)
    identity_cache.put(key, identity, seen=seen, size_bytes=size_bytes, ttl_s=left_s)
    return identity


async def _holder(claimed: Subject, services: Services) -> Holder:
    """The account behind a token, as currently stored, cached because clients fetch a new token for each repository.
    Raises Unauthenticated."""
    holder = holder_cache.get(claimed.key)
    if holder is not None:
        return holder
    seen = holder_cache.begin([claimed.key])
    return await services.finding_holders.do(claimed, partial(_find_holder, claimed), seen=seen)


async def _find_holder(claimed: Subject) -> Holder:
    return await holder_cache.aread_through(
        claimed.key, partial(threads.run, _living, claimed), depends_on=[claimed.key], ttl_s=_life_s
    )


def _living(claimed: Subject) -> Holder:
    if claimed.is_anonymous:
        return Holder(ANONYMOUS, 0, inf)
    subject = authority().subject(kind=claimed.kind, id=claimed.id)
    if subject is None:
        raise Unauthenticated("the token was revoked")
    return _holder_of(subject)


def _holder_of(subject: Subject) -> Holder:
    return Holder(subject, authority().credential_version(subject), ends_at_s(subject))


def _life_s(holder: Holder) -> float:
    return cacheable_for_s(holder.expires_at_s)


def _name_and_secret(credentials: str) -> tuple[str, str]:
    try:
        username, colon, secret = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Unauthenticated("the Basic credentials are not base64 of name:password") from None
    if not colon or "\0" in username + secret:
        raise Unauthenticated("the Basic credentials are not base64 of name:password")
    return username, secret


def check_basic(key: bytes, *, username: str, secret: str, client: str) -> Identity:
    """The identity behind Basic credentials, cached under `key` (`credentials_key`). May take a password hash. Raises
    Unauthenticated or TooManyAttempts."""
    check = partial(authority().authenticate, username=username, secret=secret, client=client)
    subject = check()
    # The generation to depend on is known only now. Checked again under it, what is cached below is what holds: a
    # secret that was changed in between is refused here. The second check costs no password hash.
    seen = identity_cache.begin([subject.key])
    holder = _holder_of(check())
    identity = Identity(holder.subject, None, holder.credential_version)
    identity_cache.put(key, identity, seen=seen, ttl_s=_life_s(holder))
    # The client's next request will carry the token that it has just obtained.
    holder_cache.put(subject.key, holder, seen=seen, ttl_s=_life_s(holder))
    return identity
