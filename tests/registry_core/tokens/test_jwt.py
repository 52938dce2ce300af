"""Tokens: what ours say, and every way in which one that is not ours could be believed."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import time
import zlib
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from registry_core.access import Subject, SubjectKind
from registry_core.tokens import jwt
from registry_core.tokens.jwt import Claims, Grant, TokenError, TokenTooLarge, mint, verify
from registry_core.tokens.keys import key_ring, thumbprint

ANNA = Subject(SubjectKind.USER, 12, "anna")
PULL = Grant("repository", "library/alpine", ("pull",), 1, 2)
NOW = int(time.time())
Change = Callable[[dict[str, Any]], object]


def b64(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    right = {
        "iss": jwt.ISSUER,
        "aud": jwt.AUDIENCE,
        "sub": "user:12",
        "name": "anna",
        "jti": "x",
        "cv": 1,
        "access": [],
    }
    return {**right, "iat": now, "nbf": now, "exp": now + 60, **changed}


def deflated(content: bytes) -> bytes:
    return zlib.compress(content, wbits=-15)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in claims().items() if key != name}


def header(**changed: Any) -> dict[str, Any]:
    return {"alg": "EdDSA", "kid": key_ring().signing().kid, "typ": "JWT", **changed}


def signed(head: dict[str, Any], payload: Any, *, by: Ed25519PrivateKey | None = None) -> str:
    content = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(payload).encode())}"
    signature = (by or key_ring().signing().private).sign(content.encode())
    return f"{content}.{b64(signature)}"


def test_token_says_what_it_was_made_for() -> None:
    said = verify(mint(subject=ANNA, grants=[PULL], ttl_s=60, credential_version=3))
    assert (said.subject, said.cv, said.access, said.exp - said.iat) == (ANNA, 3, (PULL,), 60)


def test_hand_made_token_by_our_key_is_believed() -> None:
    """So that the refusals below are for the reason that they name."""
    assert verify(signed(header(), claims())).subject == ANNA


@pytest.mark.parametrize("name", list(claims()))
def test_claim_that_is_missing(name: str) -> None:
    with pytest.raises(TokenError):
        verify(signed(header(), without(name)))


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "someone"},
        {"aud": "someone"},
        {"aud": [jwt.AUDIENCE]},
        {"exp": NOW - 10},
        {"exp": NOW + 10**9},
        {"exp": str(NOW + 60)},
        {"exp": 1e400},
        {"exp": None},
        {"iat": NOW + 3600, "exp": NOW + 7200},
        {"nbf": NOW + 3600},
        {"iat": -(10**30)},
        {"iat": True},
        {"cv": -1},
        {"sub": "root:1"},
        {"sub": "user:-1"},
        {"sub": "user:" + "9" * 40},
        {"sub": ""},
        {"access": None},
        {"access": [{"type": "repository"}]},
    ],
)
def test_claim_that_is_wrong(changed: dict[str, Any]) -> None:
    with pytest.raises(TokenError):
        verify(signed(header(), claims(**changed)))


@pytest.mark.parametrize("payload", [[], None, "text", 1])
def test_payload_that_is_no_object(payload: Any) -> None:
    with pytest.raises(TokenError):
        verify(signed(header(), payload))


def test_other_key_under_our_kid() -> None:
    with pytest.raises(TokenError):
        verify(signed(header(), claims(), by=Ed25519PrivateKey.generate()))


@pytest.mark.parametrize("name", ["jwk", "jku", "x5c", "x5u", "crit"])
def test_key_that_the_token_brings_along(name: str) -> None:
    own = Ed25519PrivateKey.generate()
    raw = own.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    brought = {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}
    for kid in (thumbprint(own.public_key()), key_ring().signing().kid):
        with pytest.raises(TokenError):
            verify(signed(header(kid=kid, **{name: brought}), claims(), by=own))


@pytest.mark.parametrize("algorithm", ["none", "None", "", "HS256", "RS256", "ES256", "EdDSA ", None])
def test_other_algorithm(algorithm: str | None) -> None:
    with pytest.raises(TokenError):
        verify(signed(header(alg=algorithm), claims()))


@pytest.mark.parametrize("algorithm", ["HS256", "EdDSA"])
def test_hmac_with_our_public_key_as_the_secret(algorithm: str) -> None:
    public = key_ring().signing().public
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    content = f"{b64(json.dumps(header(alg=algorithm)).encode())}.{b64(json.dumps(claims()).encode())}"
    for key in (pem, raw):
        signature = b64(hmac.new(key, content.encode(), hashlib.sha256).digest())
        with pytest.raises(TokenError):
            verify(f"{content}.{signature}")


def test_no_signature() -> None:
    head, payload, _ = mint(subject=ANNA, grants=[], ttl_s=60, credential_version=1).split(".")
    for token in (f"{head}.{payload}.", f"{head}.{payload}", f"{head}..", f"{head}.{payload}.{'A' * 86}"):
        with pytest.raises(TokenError):
            verify(token)


def test_payload_exchanged_under_a_signature() -> None:
    head, _, signature = mint(subject=ANNA, grants=[], ttl_s=60, credential_version=1).split(".")
    with pytest.raises(TokenError):
        verify(f"{head}.{b64(json.dumps(claims(sub='user:1')).encode())}.{signature}")


@given(st.one_of(st.text(), st.from_regex(r"[\w-]+\.[\w-]+\.[\w-]+", fullmatch=True)))
def test_nonsense_is_refused_and_never_breaks(text: str) -> None:
    with pytest.raises(TokenError):
        verify(text)


@given(st.data())
def test_token_with_one_character_changed_is_refused(data: st.DataObject) -> None:
    token = mint(subject=ANNA, grants=[PULL], ttl_s=60, credential_version=1)
    # The signature's last character holds two bits that no decoder looks at.
    place = data.draw(st.integers(0, len(token) - 2))
    other = data.draw(st.characters().filter(lambda character: character != token[place]))
    with pytest.raises(TokenError):
        verify(token[:place] + other + token[place + 1 :])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(list(claims())), json_values), st.dictionaries(st.text(), json_values, max_size=2)
)
def test_signed_nonsense_gives_claims_or_a_refusal(changed: dict[str, Any], head: dict[str, Any]) -> None:
    for token in (signed(header(), claims(**changed)), signed(header(**head), claims())):
        with contextlib.suppress(TokenError):
            assert isinstance(verify(token), Claims)


def granted(grant: Grant, *, project_id: int = 1, repository_id: int | None = 2, age_s: int = 0) -> set[str]:
    said = verify(mint(subject=ANNA, grants=[grant], ttl_s=60, credential_version=1))
    created_at = None if repository_id is None else datetime.now(UTC) - timedelta(seconds=age_s)
    return set(
        said.actions_on(
            name="library/alpine", project_id=project_id, repository_id=repository_id, created_at=created_at
        )
    )


def test_grant_holds_for_its_ids_only() -> None:
    assert granted(PULL) == {"pull"}
    assert granted(PULL, project_id=9) == granted(PULL, repository_id=9) == granted(PULL, repository_id=None) == set()


def test_grant_for_a_repository_to_come_holds_for_a_new_one_and_not_for_one_restored() -> None:
    to_come = Grant("repository", "library/alpine", ("push",), 1, None)
    assert granted(to_come, repository_id=None) == granted(to_come, repository_id=7) == {"push"}
    assert granted(to_come, repository_id=7, age_s=3600) == set()
    assert granted(to_come, project_id=9, repository_id=None) == set()


def test_grant_without_ids_gives_nothing() -> None:
    assert granted(Grant("repository", "library/alpine", ("pull",))) == set()


def test_token_for_more_than_a_day_is_not_made() -> None:
    with pytest.raises(ValueError, match="a token lives"):
        mint(subject=ANNA, grants=[], ttl_s=10**6, credential_version=1)


def many(count: int) -> list[Grant]:
    return [Grant("repository", f"library/image-{number}", ("pull", "push"), 12, number) for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, 20, 130, 1500])
def test_token_for_many_repositories_says_what_it_was_made_for(count: int) -> None:
    token = mint(subject=ANNA, grants=many(count), ttl_s=60, credential_version=3)
    assert verify(token).access == tuple(many(count))


def test_token_for_130_repositories_passes_a_proxy_that_allows_8_kib_for_a_header() -> None:
    assert len(mint(subject=ANNA, grants=many(130), ttl_s=60, credential_version=3)) < 4096


def test_token_that_would_be_refused_is_not_made() -> None:
    different = [Grant("repository", hashlib.sha512(bytes([n // 256, n % 256])).hexdigest(), ()) for n in range(700)]
    with pytest.raises(TokenTooLarge):
        mint(subject=ANNA, grants=different, ttl_s=60, credential_version=3)
    # Each of these is short, for they are all alike: what it unfolds to would be too much.
    with pytest.raises(TokenTooLarge):
        mint(subject=ANNA, grants=[PULL] * 20_000, ttl_s=60, credential_version=3)


@pytest.mark.parametrize(
    "payload",
    [
        b"not deflated",
        b"",
        deflated(json.dumps(claims()).encode())[:-5],
        zlib.compress(json.dumps(claims()).encode()),  # with a header, which DEF has not
        deflated(json.dumps(claims(jti="x" * jwt.CLAIMS_MAX_BYTES)).encode()),
    ],
)
def test_claims_that_do_not_unfold(payload: bytes) -> None:
    content = f"{b64(json.dumps(header(zip='DEF')).encode())}.{b64(payload)}"
    with pytest.raises(TokenError):
        verify(f"{content}.{b64(key_ring().signing().private.sign(content.encode()))}")


@pytest.mark.parametrize("method", ["def", "GZIP", "", True])
def test_other_compression(method: object) -> None:
    with pytest.raises(TokenError):
        verify(signed(header(zip=method), claims()))


def test_last_character_of_a_signature_has_one_form() -> None:
    token = mint(subject=ANNA, grants=[PULL], ttl_s=60, credential_version=3)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    accepted = []
    for last in alphabet:
        with contextlib.suppress(TokenError):
            verify(token[:-1] + last)
            accepted.append(last)
    assert accepted == [token[-1]]
