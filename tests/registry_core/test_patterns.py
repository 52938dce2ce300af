"""Every regular expression of ours takes a time that grows with the text alone, and those of users do by RE2.

The patterns are found in the source, so a new one is held to the same without being named here. Hostile texts are made
from each pattern: what leads to each of its repetitions, what it repeats, many times, and something that does not fit.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.urls import Resolver404, get_resolver
from hypothesis import given
from hypothesis import strategies as st

from registry_core.errors import InvalidInput
from registry_core.patterns import PATTERN_MAX, Pattern

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGES = ("registry_core", "rbac", "projects", "replication", "scanning", "frontend")
METHODS = {"fullmatch", "match", "search", "sub", "subn", "split", "findall", "finditer"}
LONGEST = 1 << 16
"""Characters of the longest text that a client can have us look at in one piece: a request target, or a header."""
SHORTER = {
    "registry_core.api.query": 4096,  # api.query refuses a longer `q` before
    "registry_core.config.values": 4096,  # from the administrator's configuration
    "registry_core.tls.names": 4096,
}
WITHIN_S = 0.05
"""Linear patterns take less than a millisecond for LONG, quadratic ones some tenths of a second."""
LONGEST_WITHIN_S = 0.25
"""Linear ones take less than 5 ms for LONGEST, quadratic ones more than ten seconds."""
LONG = 8192
SHORT = (8, 12, 16, 20, 24, 32, 256)
SUFFIXES = ("", "!", "\n", "\x00", "/", "=")


@dataclass(frozen=True)
class Use:
    """A pattern where it stands, and how it is used."""

    where: str
    module: str
    source: str
    flags: int
    is_bytes: bool
    methods: frozenset[str]


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "migrations" not in path.parts:
                name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
                yield name, ast.parse(path.read_text())


@cache
def uses() -> list[Use]:
    importlib.import_module("registry_core.wiring.urls")  # makes the path converters known
    return [use for name, tree in modules() for use in [*_calls(name, tree), *_declared(name, tree)]]


def _calls(module: str, tree: ast.Module) -> Iterator[Use]:
    """What is given to the functions of `re`."""
    assigned = {
        id(node.value): _target(node) for node in ast.walk(tree) if isinstance(node, ast.Assign | ast.AnnAssign)
    }
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        function, owner = node.func.attr, node.func.value
        if not (isinstance(owner, ast.Name) and owner.id == "re") or function not in {*METHODS, "compile"}:
            continue
        pattern = _value(module, node.args[0])
        if function == "compile":
            compiled: re.Pattern[Any] = _value(module, node)
            yield _use(module, node, compiled, _methods(tree, assigned.get(id(node), "")))
        else:
            flags = sum(_value(module, keyword.value) for keyword in node.keywords if keyword.arg == "flags")
            yield _use(module, node, re.compile(pattern, flags), {function})


def _declared(module: str, tree: ast.Module) -> Iterator[Use]:
    """Patterns that others match: msgspec's, Django's path converters, re_path."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "pattern" and isinstance(keyword.value, ast.Constant):
                    yield _use(module, node, re.compile(_value(module, keyword.value)), {"search"})
            if isinstance(node.func, ast.Name) and node.func.id == "re_path":
                yield _use(module, node, re.compile(_value(module, node.args[0])), {"search"})
        elif isinstance(node, ast.Assign) and _target(node) == "regex" and isinstance(node.value, ast.Constant):
            yield _use(module, node, re.compile(_value(module, node.value)), {"fullmatch"})


def _use(module: str, node: ast.expr | ast.stmt, compiled: re.Pattern[Any], methods: set[str]) -> Use:
    is_bytes = isinstance(compiled.pattern, bytes)
    source = compiled.pattern.decode("latin-1") if is_bytes else compiled.pattern
    flags = compiled.flags & ~re.UNICODE
    return Use(f"{module}:{node.lineno}", module, source, flags, is_bytes, frozenset(methods))


def _value(module: str, node: ast.expr) -> Any:
    """The value of an expression in its module; a pattern that is made at run time would have to be one of RE2."""
    code = compile(ast.Expression(node), module, "eval")
    return eval(code, vars(importlib.import_module(module)))  # noqa: S307 our own source


def _target(node: ast.Assign | ast.AnnAssign) -> str:
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    return target.id if isinstance(target, ast.Name) else ""


def _methods(tree: ast.Module, name: str) -> set[str]:
    """The methods that are called on the pattern `name`; on one without a name: those called on any `….pattern`."""
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in METHODS]
    found = {node.attr for node in attributes if _name_of(node.value) == (name or ".pattern")}
    return found or {"fullmatch", "search"}


def _name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f".{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


# --- hostile texts ---------------------------------------------------------------------------------------------------


def hostile(use: Use, length: int) -> Iterator[str]:
    parsed = vars(re)["_parser"].parse(use.source, use.flags)
    some = sorted({*_characters(parsed)}, key=lambda piece: (not piece.isalnum(), piece))[:14]
    rounds = {body for _, body in _repetitions(parsed, "")} | {"a", "://", ":", " ", "-", "/"}
    prefixes = {"", *(prefix for prefix, _ in _repetitions(parsed, ""))}
    if length < LONGEST:
        rounds |= {*some}
        yield from (_repeated("", "".join(pair), "!", length) for pair in itertools.permutations(some, 2))
    for body, prefix in itertools.product(sorted(filter(None, rounds)), sorted(prefixes)):
        yield from (_repeated(prefix, body, suffix, length) for suffix in (SUFFIXES if length < LONGEST else "!"))


def _repeated(prefix: str, body: str, suffix: str, length: int) -> str:
    return (prefix + body * (length // len(body) + 1))[: length - len(suffix)] + suffix


def _characters(parsed: Any) -> Iterator[str]:
    for operation, argument in parsed:
        name = str(operation)
        if name in {"LITERAL", "NOT_LITERAL"}:
            yield chr(argument)
        elif name == "IN":
            yield from _members(argument)
        else:
            for inner in _inner(name, argument):
                yield from _characters(inner)


def _members(members: Any) -> Iterator[str]:
    if str(members[0][0]) == "NEGATE":
        yield from ("a", "!")
    for operation, argument in members:
        name = str(operation)
        if name == "LITERAL":
            yield chr(argument)
        elif name == "RANGE":
            yield chr(argument[0])
        elif name == "CATEGORY":
            yield {"CATEGORY_SPACE": " ", "CATEGORY_DIGIT": "0"}.get(str(argument), "_")


def _inner(name: str, argument: Any) -> list[Any]:
    """The parts of an operation that are patterns themselves."""
    match name:
        case "SUBPATTERN":
            return [argument[3]]
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            return [argument[2]]
        case "BRANCH":
            return list(argument[1])
        case "ASSERT" | "ASSERT_NOT":
            return [argument[1]]
        case "ATOMIC_GROUP":
            return [argument]
        case _:
            return []


def _example(parsed: Any) -> str:
    """The shortest text that the pattern, more or less, matches."""
    text = ""
    for operation, argument in parsed:
        name = str(operation)
        if name == "LITERAL":
            text += chr(argument)
        elif name in {"IN", "ANY", "NOT_LITERAL"}:
            text += next(_characters([(operation, argument)]), "a")
        elif name.endswith("REPEAT"):
            text += _example(argument[2]) * max(argument[0], 0)
        elif name in {"SUBPATTERN", "BRANCH"}:
            text += _example(_inner(name, argument)[0])
    return text


def _repetitions(parsed: Any, before: str) -> Iterator[tuple[str, str]]:
    """What leads to each repetition, and one round of it."""
    for operation, argument in parsed:
        name = str(operation)
        for inner in _inner(name, argument):
            if name.endswith("REPEAT") and argument[1] > 10:
                yield before, _example(inner) or next(_characters(inner), "a")
            yield from _repetitions(inner, before)
        before += _example([(operation, argument)])


# --- the patterns ----------------------------------------------------------------------------------------------------


def taken_s(function: Callable[..., Any], text: str | bytes, within_s: float = WITHIN_S) -> float:
    """The least of three times, or the first one that is short enough."""
    least = float("inf")
    for _ in range(3):
        begin_s = time.perf_counter()
        result = function(text)
        if isinstance(result, Iterator):
            list(result)
        least = min(least, time.perf_counter() - begin_s)
        if least < within_s:
            break
    return least


def bound(compiled: re.Pattern[Any], method: str) -> Callable[..., Any]:
    if method not in {"sub", "subn"}:
        return getattr(compiled, method)  # type: ignore[no-any-return]
    with_what: Any = b"" if isinstance(compiled.pattern, bytes) else ""
    return lambda text: getattr(compiled, method)(with_what, text)


def slow_texts(use: Use, *lengths: int, within_s: float = WITHIN_S) -> Iterator[str]:
    """For what the pattern takes too long; from short texts on, so that one that explodes is found before it does."""
    source: Any = use.source.encode("latin-1") if use.is_bytes else use.source
    compiled = re.compile(source, use.flags)
    for length in lengths:
        for text in hostile(use, length):
            given: Any = text.encode("latin-1", "replace") if use.is_bytes else text
            for method in use.methods:
                took_s = taken_s(bound(compiled, method), given, within_s)
                if took_s >= within_s:
                    yield f"{method} of {length} characters like {text[:40]!r}…{text[-5:]!r}: {took_s * 1000:.0f} ms"
                    return


def test_the_patterns_are_found() -> None:
    assert len(uses()) >= 50
    assert {"registry_core.distribution.router", "registry_core.api.messages", "registry_core.api.converters"} <= {
        use.module for use in uses()
    }


@pytest.mark.parametrize("use", uses(), ids=lambda use: use.where)
def test_pattern_takes_time_that_grows_with_the_text_alone(use: Use) -> None:
    longest = SHORTER.get(use.module, LONGEST)
    assert list(slow_texts(use, *SHORT, min(LONG, longest))) == []
    assert list(slow_texts(use, longest, within_s=LONGEST_WITHIN_S)) == []


@pytest.mark.parametrize(
    ("source", "method"),
    [
        (r"/(?:[a-z._~-]+/?)*(?:\?[a-z]*)?", "fullmatch"),
        (r"(a|a)*b", "match"),
        (r"\s+$", "search"),
        (r"[\w-]*secret=", "search"),
        (r"(.*),(.*),(.*),(.*);", "fullmatch"),
    ],
)
def test_a_pattern_that_backtracks_is_noticed(source: str, method: str) -> None:
    use = Use("here", "here", source, 0, False, frozenset({method}))
    assert next(slow_texts(use, *SHORT, LONG), None)


@pytest.mark.parametrize(
    "round_",
    [
        "a/",
        "/artifacts/a",
        "/artifacts",
        "repositories/",
        "/repositories/a/artifacts/b",
        "%2F",
        "//",
        "artifacts/b/tags/",
    ],
)
@pytest.mark.parametrize("prefix", ["", "api/v2.0/projects/p/repositories/", "projects/", "api/v2.0/"])
def test_no_address_takes_long_to_be_found(prefix: str, round_: str) -> None:
    path = "/" + prefix + (round_ * LONGEST)[:LONGEST]

    def resolve(text: str | bytes) -> None:
        try:
            get_resolver().resolve(str(text))
        except Resolver404:
            return

    for suffix in ("", "!", "\n"):
        assert (
            taken_s(resolve, path + suffix, LONGEST_WITHIN_S) < LONGEST_WITHIN_S
        )  # more than a hundred patterns are tried


# --- those of users --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["(a+)+b", "(?:a|a)*c", "(.*)*x", "(?:a?){100}a{100}"])
def test_no_pattern_of_a_user_takes_long(pattern: str) -> None:
    matches = Pattern(pattern).matches
    assert taken_s(matches, "a" * LONGEST + "!", LONGEST_WITHIN_S) < LONGEST_WITHIN_S


def test_a_pattern_of_a_user_means_the_whole_text() -> None:
    assert Pattern("[0-9]*").matches("123")
    assert not Pattern("[0-9]*").matches("redis")


@pytest.mark.parametrize(
    "pattern", ["(a", "a{2000}", r"(a)\1", "(?=a)b", "[b-a]", "*", "\ud800", "a" * (PATTERN_MAX + 1)]
)
def test_a_pattern_that_cannot_be_used_is_refused_with_the_reason(pattern: str) -> None:
    with pytest.raises(InvalidInput):
        Pattern(pattern)


@given(st.text(), st.text())
def test_any_pattern_is_refused_or_matches_any_text(pattern: str, text: str) -> None:
    try:
        compiled = Pattern(pattern)
    except InvalidInput:
        return
    assert isinstance(compiled.matches(text), bool)
