"""Digests: text outside, bytes inside, one to one."""

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.digests import ALGORITHMS, Digest, DigestError

SHA256_OF_NOTHING = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.binary(), st.sampled_from(sorted(ALGORITHMS)))
def test_digest_of_content_is_that_of_hashlib_and_survives_text_and_bytes(content: bytes, algorithm: str) -> None:
    digest = Digest.of(content, algorithm)
    assert str(digest) == f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    assert Digest.parse(str(digest)) == digest == Digest(digest.raw)
    assert digest.algorithm == algorithm
    assert hash(Digest(digest.raw)) == hash(digest)


def test_digest_of_nothing() -> None:
    assert str(Digest.of(b"")) == SHA256_OF_NOTHING


@given(st.text())
def test_what_is_parsed_is_written_the_same(text: str) -> None:
    with contextlib.suppress(DigestError):
        assert str(Digest.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a digest"),
        ("sha256", "not a digest"),
        ("sha256:", "not a digest"),
        (f"{SHA256_OF_NOTHING}\n", "not a digest"),
        (f"../{SHA256_OF_NOTHING}", "not a digest"),
        ("md5:d41d8cd98f00b204e9800998ecf8427e", "'md5' is not supported"),
        ("sha256:abc", "has 64"),
        (SHA256_OF_NOTHING[:-1], "has 64"),
        (f"{SHA256_OF_NOTHING}0", "has 64"),
        (f"sha256:{'E' * 64}", "lower-case"),
        (f"sha256:{'g' * 64}", "hexadecimal"),
        (f"sha512:{'0' * 64}", "has 128"),
    ],
)
def test_what_is_not_a_digest_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(DigestError, match=reason):
        Digest.parse(text)


@given(st.binary(), st.binary())
def test_digests_sort_by_their_bytes_with_the_algorithm_first(one: bytes, other: bytes) -> None:
    assert (Digest.of(one) < Digest.of(other)) == (str(Digest.of(one)) < str(Digest.of(other)))
    assert Digest.of(one) < Digest.of(other, "sha512")
