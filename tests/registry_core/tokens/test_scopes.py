"""Scopes: what clients really send, and what nobody should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.tokens.scopes import Scope, parse_scopes


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["repository:library/alpine:pull"], [Scope("repository", "library/alpine", ("pull",))]),
        (["repository:a/b:pull,push"], [Scope("repository", "a/b", ("pull", "push"))]),
        (["registry:catalog:*"], [Scope("registry", "catalog", ("*",))]),
        (
            ["repository:a/b:pull repository:c/d:push"],
            [Scope("repository", "a/b", ("pull",)), Scope("repository", "c/d", ("push",))],
        ),
        (["repository:a/b:pull", "repository:a/b:push,pull"], [Scope("repository", "a/b", ("pull", "push"))]),
        (["repository:host:5000/a/b:pull"], [Scope("repository", "host:5000/a/b", ("pull",))]),
        (["repository(plugin):a/b:pull"], [Scope("repository", "a/b", ("pull",))]),
        (["repository:a,b:pull"], [Scope("repository", "a,b", ("pull",))]),
        (["repository:a/b:"], [Scope("repository", "a/b", ())]),
        (["repository:a/b:pull,,push,"], [Scope("repository", "a/b", ("pull", "push"))]),
        (["", " ", "repository", "repository:a/b", ":a/b:pull", "repository::pull", "(x):a:pull", "::"], []),
        (["\trepository:a/b:pull\n"], [Scope("repository", "a/b", ("pull",))]),
    ],
)
def test_scopes_are_read(texts: list[str], expected: list[Scope]) -> None:
    assert parse_scopes(texts) == expected


def test_of_many_scopes_and_many_actions_none_is_lost() -> None:
    names = [f"a/r{number}" for number in range(5000)]
    actions = ",".join(f"x{number}" for number in range(1000)) + ",push"
    assert parse_scopes([f"repository:{name}:pull" for name in names]) == [
        Scope("repository", name, ("pull",)) for name in names
    ]
    assert parse_scopes([f"repository:a/b:{actions}"]) == [Scope("repository", "a/b", ("push",))]


@given(st.lists(st.text(alphabet=st.one_of(st.sampled_from("ab:/,*() "), st.characters()))))
def test_anything_is_read_into_distinct_scopes_that_are_whole(texts: list[str]) -> None:
    scopes = parse_scopes(texts)
    assert len({(scope.type, scope.name) for scope in scopes}) == len(scopes)
    assert all(scope.type and scope.name and len(set(scope.actions)) == len(scope.actions) for scope in scopes)
    assert all(not any(character.isspace() for character in scope.type + scope.name) for scope in scopes)


word = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)


action = st.sampled_from(["pull", "push", "delete", "*"])


@given(st.lists(word, min_size=2, max_size=4).map("/".join), st.lists(action, min_size=1, unique=True))
def test_scope_that_is_written_is_read_again(name: str, actions: list[str]) -> None:
    assert parse_scopes([f"repository:{name}:{','.join(actions)}"]) == [Scope("repository", name, tuple(actions))]
