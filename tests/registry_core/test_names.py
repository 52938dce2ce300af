"""Names: the grammar of the specification, and nothing that a path or a database could stumble over."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.digests import Digest, DigestError
from registry_core.names import NAME_MAX, InvalidName, RepositoryName, is_tag, parse_reference

ELEMENT = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
GRAMMAR = rf"{ELEMENT}(\/{ELEMENT})*"


names = st.lists(st.from_regex(ELEMENT, fullmatch=True), min_size=2, max_size=5).map("/".join)


@given(names.filter(lambda name: len(name) <= NAME_MAX))
def test_every_name_of_the_specification_with_a_project_is_one(name: str) -> None:
    parsed = RepositoryName.parse(name)
    assert str(parsed) == name
    assert "/" not in parsed.project


@given(st.text())
def test_whatever_is_parsed_is_of_the_grammar(text: str) -> None:
    try:
        parsed = RepositoryName.parse(text)
    except InvalidName:
        return
    assert str(parsed) == text
    assert re.fullmatch(GRAMMAR, text)
    assert len(text) <= NAME_MAX


@pytest.mark.parametrize(
    "text",
    ["", "a", "/a", "a/", "a//b", "../a", "a/..", "a/.", "a/b.", "a/-b", "a/b\n", "a/B", "a/b\0", "_catalog/a", "a/_b",
     "a/b___c", "a/b..c", "a%2fb/c", "á/b", "a/" + "b" * 254],
)  # fmt: skip
def test_what_is_not_a_name(text: str) -> None:
    with pytest.raises(InvalidName):
        RepositoryName.parse(text)


def test_the_longest_name_is_one() -> None:
    assert RepositoryName.parse("a/" + "b" * 253).path == "b" * 253


def test_a_name_without_a_project_is_told_how_to_have_one() -> None:
    with pytest.raises(InvalidName, match="library/alpine"):
        RepositoryName.parse("alpine")


@given(st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True))
def test_every_tag_of_the_specification_is_one(tag: str) -> None:
    assert is_tag(tag)
    assert parse_reference(tag) == tag


@pytest.mark.parametrize("text", ["", ".a", "-a", "a" * 129, "a/b", "a\n", "a\0", "á"])
def test_what_is_not_a_tag(text: str) -> None:
    assert not is_tag(text)
    with pytest.raises(InvalidName):
        parse_reference(text)


@given(st.text())
def test_a_reference_is_a_tag_or_a_digest_or_refused(text: str) -> None:
    try:
        reference = parse_reference(text)
    except (InvalidName, DigestError):
        return
    assert str(reference) == text
    assert isinstance(reference, Digest) == (":" in text)
