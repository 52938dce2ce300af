"""Glob patterns for names, as rules about tags and repositories use them (the doublestar syntax).

`*` matches within a path element, `**` as a whole element across elements, `?` one character, `[a-z]` and `[^a-z]` a
character of a class, `{a,b}` one of several, and a backslash takes a special character literally. An empty pattern
matches every name. Matching is about whole names.

A pattern becomes one regular expression, in a syntax that RE2 and Postgres share: both match in time linear in the
name, whatever the pattern, and a list can be selected by the database with the same result.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, Final

import re2

from registry_core.caches import cached
from registry_core.errors import InvalidInput

PATTERN_MAX: Final = 512
"""The most characters of a pattern."""
EXPANSIONS_MAX: Final = 256
"""The most patterns that the braces of one may stand for."""
EXPANDED_MAX: Final = 8192
"""The most characters of those patterns together."""
DEPTH_MAX: Final = 8
"""The most levels of braces within braces."""
MEMORY_BYTES: Final = 1 << 20
"""The most memory of a compiled pattern."""
_WITHIN: Final = "[^/\\n]"
_CHARACTER: Final = re.compile(r"\\.|.")
_PIECE: Final = re.compile(r"\\.|\*+|\[(?:\\.|[^\]\\])+\]|[^\[\\]")


class Glob:
    """A compiled pattern. `regex` matches the same names in Postgres (`name ~ regex`)."""

    __slots__ = ("_in_lines", "_whole", "pattern", "regex")

    def __init__(self, pattern: str) -> None:
        """Raises InvalidInput, which says what is wrong with the pattern."""
        self.pattern = pattern
        self.regex = _regex(pattern)
        self._whole = self._compiled(self.regex)
        self._in_lines = self._compiled(f"(?m){self.regex}")

    def matches(self, name: str) -> bool:
        """Whether the pattern matches the whole name."""
        return self._whole.fullmatch(name.encode()) is not None

    def first_of(self, names: Collection[str]) -> str | None:
        """A name that the pattern matches; None if it matches none. Names have no line breaks. Fast for many names."""
        found = self._in_lines.search("\n".join(names).encode()) if names else None
        return None if found is None else str(found.group().decode())

    def _compiled(self, regex: str) -> Any:
        options = re2.Options()
        options.log_errors = False
        options.max_mem = MEMORY_BYTES
        try:
            return re2.compile(regex, options)
        except re2.error:
            raise _refused(self.pattern, "is too complex: write fewer alternatives, or several rules") from None


@cached("globs", share=1 / 64, entry_bytes=1 << 15, longest=PATTERN_MAX)
def glob(pattern: str) -> Glob:
    """The compiled pattern, from the cache if it is there. Raises InvalidInput."""
    return Glob(pattern)


def _regex(pattern: str) -> str:
    if len(pattern) > PATTERN_MAX:
        raise InvalidInput(f"a pattern has at most {PATTERN_MAX} characters, this one has {len(pattern)}")
    if not pattern.isprintable():
        raise _refused(pattern, "has characters that no name has")
    alternatives = dict.fromkeys(_path_regex(pattern, each) for each in _expanded(pattern)) if pattern else [".*"]
    return f"^(?:{'|'.join(alternatives)})$"


def _refused(pattern: str, why: str) -> InvalidInput:
    return InvalidInput(f"the pattern {pattern[:80]!r} {why}")


def _expanded(pattern: str) -> list[str]:
    """The patterns that the braces of a pattern stand for; bounded, because each brace multiplies them."""
    levels = [_Level()]
    for piece in _pieces(pattern):
        if piece == "{":
            levels.append(_Level())
        elif piece == "}" and len(levels) > 1:
            alternatives = levels.pop().alternatives
            levels[-1].append(pattern, alternatives)
        elif piece == "," and len(levels) > 1:
            levels[-1].begin_next()
        else:
            levels[-1].append(pattern, [piece])
        if len(levels) > DEPTH_MAX + 1:
            raise _refused(pattern, f"has more than {DEPTH_MAX} levels of braces")
    if len(levels) > 1:
        raise _refused(pattern, "has a { without }: write \\{ for the character itself")
    return list(dict.fromkeys(levels[0].alternatives))


class _Level:
    """What is between two braces so far: the alternatives before the last comma, and the beginnings of the current
    one, which are several after a brace within it."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._current = [""]

    @property
    def alternatives(self) -> list[str]:
        return self._done + self._current

    def begin_next(self) -> None:
        self._done, self._current = self.alternatives, [""]

    def append(self, pattern: str, endings: list[str]) -> None:
        """Continue the current alternative, in each of these ways."""
        if len(self._done) + len(self._current) * len(endings) > EXPANSIONS_MAX:
            raise _refused(pattern, f"stands for more than {EXPANSIONS_MAX} patterns: write several rules")
        self._current = [begun + ending for begun in self._current for ending in endings]
        if sum(map(len, self._current)) > EXPANDED_MAX:
            raise _refused(pattern, f"stands for patterns of more than {EXPANDED_MAX} characters: write several rules")


def _pieces(pattern: str) -> Iterator[str]:
    """The pieces of a pattern: each an escaped character, stars, a class, or one character."""
    position = 0
    while position < len(pattern):
        found = _PIECE.match(pattern, position)
        if found is None:
            raise _refused(pattern, "has a [ without ], or ends with a backslash: write \\[ or \\\\ for the character")
        yield found[0]
        position = found.end()


def _path_regex(whole: str, pattern: str) -> str:
    """The regular expression for a pattern without braces: `**/` is any number of elements, and `/**` all below."""
    parts: list[str] = []
    elements = _elements(pattern)
    for index, element in enumerate(elements):
        is_last = index == len(elements) - 1
        if element == ["**"]:
            parts.append(".*" if is_last else f"(?:{_WITHIN}+/)*")
        else:
            parts += [_piece_regex(whole, piece) for piece in element]
            parts += [] if is_last else ["/"]
    return "".join(parts)


def _elements(pattern: str) -> list[list[str]]:
    """The pieces of each path element."""
    elements: list[list[str]] = [[]]
    for piece in _pieces(pattern):
        if piece == "/":
            elements.append([])
        else:
            elements[-1].append(piece)
    return elements


def _piece_regex(whole: str, piece: str) -> str:
    if piece.startswith("*"):
        return f"{_WITHIN}*"
    if piece == "?":
        return _WITHIN
    if piece.startswith("["):
        return _class_regex(whole, piece[1:-1])
    return _literal(piece[-1])


def _class_regex(whole: str, inner: str) -> str:
    """A class without the slash, which only a slash in the pattern matches."""
    is_negated = len(inner) > 1 and inner[0] in "^!"
    ranges = list(_ranges(inner[1:] if is_negated else inner))
    if any(first > last for first, last in ranges):
        raise _refused(whole, f"has a class [{inner}] with a range that ends before it begins")
    if is_negated:
        return f"[^/\\n{''.join(map(_range_regex, ranges))}]"
    kept = [part for each in ranges for part in _without_slash(*each)]
    if not kept:
        raise _refused(whole, f"has a class [{inner}] of nothing but a slash: write the slash without brackets")
    return f"[{''.join(map(_range_regex, kept))}]"


def _ranges(inner: str) -> Iterator[tuple[str, str]]:
    """The ranges of a class, from first to last character; a single character is a range of one."""
    found = _CHARACTER.findall(inner)
    index = 0
    while index < len(found):
        is_range = index + 2 < len(found) and found[index + 1] == "-"
        yield found[index][-1], found[index + 2 if is_range else index][-1]
        index += 3 if is_range else 1


def _without_slash(first: str, last: str) -> list[tuple[str, str]]:
    if not first <= "/" <= last:
        return [(first, last)]
    parts = [(first, "."), ("0", last)]
    return [(low, high) for low, high in parts if low <= high]


def _range_regex(ends: tuple[str, str]) -> str:
    first, last = ends
    return _literal(first) if first == last else f"{_literal(first)}-{_literal(last)}"


def _literal(character: str) -> str:
    return character if character.isalnum() or not character.isascii() else f"\\{character}"
