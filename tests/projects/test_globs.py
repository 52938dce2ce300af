"""Patterns of rules mean what doublestar globs mean, in the process and in the database, and cannot be made to cost."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from django.db import connection
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from wcmatch import glob as wcmatch_glob

from projects.globs import DEPTH_MAX, EXPANSIONS_MAX, PATTERN_MAX, Glob, glob
from registry_core.errors import InvalidInput

NAMES = st.text("ab1.-_/", min_size=1, max_size=12)
ELEMENTS = st.lists(
    st.sampled_from(["a", "b", "1", ".", "-", "*", "?", "[ab]", "[a-b1]", "[^a]", "[!1]", "{a,b}", "{a,b1}", "{*,1}"]),
    max_size=4,
).map("".join)
PATTERNS = (
    st.lists(st.one_of(ELEMENTS, st.just("**")), min_size=1, max_size=4)
    .map("/".join)
    .filter(lambda pattern: pattern.count("{") <= 3)
)
AS_DOUBLESTAR = wcmatch_glob.GLOBSTAR | wcmatch_glob.BRACE | wcmatch_glob.DOTGLOB | wcmatch_glob.FORCEUNIX

TABLE = [
    ("", "anything/at-all", True),
    ("**", "v1", True), ("**", "a/b/c", True), ("*", "v1.0", True), ("*", "a/b", False),
    ("v*", "v1.0", True), ("v*", "xv1", False), ("v*", "v", True), ("v?", "v1", True), ("v?", "v10", False),
    ("release-{1,2}.*", "release-2.7", True), ("release-{1,2}.*", "release-3.0", False), ("{only}", "only", True),
    ("{a,b/c}", "b/c", True), ("{v*,latest}", "latest", True), ("{v{1,2},dev}", "v2", True), ("v{,-rc}", "v", True),
    ("{1..3}", "2", False), ("{1..3}", "1..3", True), ("{**,x}", "a/b", True), ("{a/,b}**", "a/x/y", True),
    ("**/app", "app", True), ("**/app", "team/app", True), ("**/app", "team/my-app", False),
    ("team/**", "team/a/b", True), ("team/**", "team", False), ("a/**/z", "a/z", True), ("a/**/z", "a/b/c/z", True),
    ("team**", "team-a", True), ("team**", "team/a", False), ("[0-9]*", "redis", False), ("[0-9]*", "7", True),
    ("[^0-9]*", "redis", True), ("[!0-9]*", "7up", False), ("a[^b]c", "a/c", False), ("a[.-0]c", "a/c", False),
    ("v1.0", "v1x0", False), (r"\*", "*", True), (r"\{a,b\}", "{a,b}", True), ("a}", "a}", True), ("[]", "x", None),
    ("[a", "a", None), ("{a", "a", None), ("a\\", "a", None), ("[b-a]", "a", None), ("[/]", "/", None),
    ("a\x00", "a", None), ("a\n", "a", None), ("\ud800", "a", None),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "name", "matches"), TABLE)
def test_a_pattern_matches(pattern: str, name: str, matches: bool | None) -> None:
    if matches is None:
        with pytest.raises(InvalidInput):
            Glob(pattern)
        return
    assert glob(pattern).matches(name) is matches
    assert glob(pattern).first_of([name, "\u00e4"]) in ({name} if matches else {None, "\u00e4"})


@settings(max_examples=500, deadline=None)
@given(PATTERNS, NAMES)
@example("**/**", "a/b")
def test_a_pattern_matches_what_it_does_elsewhere(pattern: str, name: str) -> None:
    # Paths with empty elements and the elements `.` and `..`, which other programs take for folders, are no names.
    assume(all(part not in {"", ".", ".."} for part in name.split("/")))
    assume(pattern != "" and "//" not in pattern and not pattern.startswith("/") and not pattern.endswith("/"))
    assert Glob(pattern).matches(name) == wcmatch_glob.globmatch(name, pattern, flags=AS_DOUBLESTAR)


@settings(max_examples=300, deadline=None)
@given(PATTERNS, st.lists(NAMES, max_size=6))
def test_many_names_at_once_are_matched_as_one_by_one(pattern: str, names: list[str]) -> None:
    matching = [name for name in names if Glob(pattern).matches(name)]
    assert (Glob(pattern).first_of(names) in matching) if matching else Glob(pattern).first_of(names) is None


@pytest.mark.django_db
@settings(max_examples=300, deadline=None)
@given(
    st.one_of(PATTERNS, st.text("a/*?[]{},^!-\\.:=+()|$#~b ", max_size=12)),
    st.lists(st.text("ab1.-_/[]^$\\ :", min_size=1, max_size=8), min_size=1, max_size=8),
)
@example("[[:alpha:]]*", ["a", ":]", "[]"])
def test_the_database_matches_as_the_process_does(pattern: str, names: list[str]) -> None:
    try:
        compiled = Glob(pattern)
    except InvalidInput:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM unnest(%s::text[]) AS name WHERE name ~ %s", [names, compiled.regex])
        found = [row[0] for row in cursor.fetchall()]
    assert sorted(found) == sorted(name for name in names if compiled.matches(name))


HOSTILE = [
    "{a,b}" * 100, "{" * 500, "{a}" * 170, "{a,b}" * 8 + "x" * 470, "{" + "{a,b}," * 60 + "}", "a" * (PATTERN_MAX + 1),
    "*a" * 250, "**/" * 170 + "x", "[!-~]" * 100, "{" * (DEPTH_MAX + 1) + "}" * (DEPTH_MAX + 1),
    "{" + "," * EXPANSIONS_MAX + "}", "\\", "[" * 500, "{a,b}{" * 80,
]  # fmt: skip


@pytest.mark.parametrize("pattern", HOSTILE, ids=lambda pattern: pattern[:12])
def test_a_hostile_pattern_costs_little(pattern: str) -> None:
    began_s = time.process_time()
    try:
        compiled = Glob(pattern)
    except InvalidInput as error:
        assert len(str(error)) < 300  # noqa: PT017 both outcomes are right
    else:
        compiled.matches("a/" * 127)
        compiled.first_of(["a" * 127 + "c"] * 1000)
    assert time.process_time() - began_s < 1


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_pattern_or_an_error_of_the_client(pattern: str) -> None:
    with suppress(InvalidInput):
        Glob(pattern).matches("a")
