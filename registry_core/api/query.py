"""The `q=` language of list addresses: `key=value` parted by commas, and what each resource allows of it.

A value is exact (`v`), fuzzy (`~v`), a range (`[min~max]`, either end may be open), one of a list (`{a b c}`) or all of
one (`(a b c)`). Text with blanks or commas stands in quotes. Keys come from the resource's own list and lead to columns
that it names: what a client writes never becomes part of a query by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import unquote

from django.db.models import Model, Q, QuerySet

from registry_core.errors import InvalidInput

Q_MAX: Final = 4096
M = TypeVar("M", bound=Model)
_PIECE: Final = re.compile(r"""(?:"[^"]*"|'[^']*'|\[[^\]]*\]|\{[^}]*\}|\([^)]*\)|[^,"'\[{(])+""")
_WORD: Final = re.compile(r"""(?:"([^"]*)"|'([^']*)'|([^\s"']+))""")
_NUMBER_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Exact:
    """The value itself."""

    value: str


@dataclass(frozen=True, slots=True)
class Fuzzy:
    """Text that contains the value."""

    value: str


@dataclass(frozen=True, slots=True)
class Range:
    """From `low` to `high`, both included; None: open."""

    low: str | None
    high: str | None


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of the values."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every one of the values."""

    values: tuple[str, ...]


Match: TypeAlias = Exact | Fuzzy | Range | AnyOf | AllOf
Condition: TypeAlias = Callable[[Match], Q]
"""What a key means for a resource: its match as a condition on rows. Raises InvalidInput where it makes no sense."""


def parse_q(text: str) -> list[tuple[str, Match]]:
    """The conditions in `text`, in order. Raises InvalidInput."""
    if len(text) > Q_MAX:
        raise InvalidInput(f"q has at most {Q_MAX} characters")
    if "\x00" in (text := unquote(text)):
        raise InvalidInput("q may not contain the character NUL")
    return [_condition(piece) for piece in _pieces(text)] if text.strip() else []


def filtered(rows: QuerySet[M], text: str, keys: Mapping[str, Condition]) -> QuerySet[M]:
    """The rows that fulfil all conditions in `text`, of the resource's `keys`. Raises InvalidInput."""
    for key, match in parse_q(text):
        condition = keys.get(key)
        if condition is None:
            known = ", ".join(sorted(keys)) or "none"
            raise InvalidInput(f"q does not know the key {key!r} here: use one of {known}")
        rows = rows.filter(condition(match))
    return rows


def text_key(column: str, *, is_lower: bool = False) -> Condition:
    """A key for text. `is_lower`: the column holds lower case only, and is searched without case so."""

    def condition(match: Match) -> Q:
        match match:
            case Exact(value):
                return Q(**{column: value})
            case Fuzzy(value):
                return Q(**{f"{column}__contains": value.lower()} if is_lower else {f"{column}__icontains": value})
            case AnyOf(values):
                return Q(**{f"{column}__in": values})
        raise InvalidInput(f"{match} does not fit text: use v, ~v or {{a b}}")

    return condition


def number_key(column: str) -> Condition:
    """A key for whole numbers."""
    return _ordered_key(column, _number)


def time_key(column: str) -> Condition:
    """A key for times, written as `2020-04-09 02:36:00` or in RFC 3339; in UTC where no zone is named."""
    return _ordered_key(column, _time)


def truth_key(column: str) -> Condition:
    """A key for `true` and `false`."""

    def condition(match: Match) -> Q:
        return Q(**{column: truth(match)})

    return condition


def choice_key(column: str, choices: Mapping[str, Any]) -> Condition:
    """A key for one of a few words, which stand for what the column holds."""

    def condition(match: Match) -> Q:
        words = (match.value,) if isinstance(match, Exact) else match.values if isinstance(match, AnyOf) else ()
        if not words or any(word not in choices for word in words):
            raise InvalidInput(f"use one of {', '.join(sorted(choices))}")
        return Q(**{f"{column}__in": [choices[word] for word in words]})

    return condition


def truth(match: Match) -> bool:
    """The truth value that was asked for. Raises InvalidInput."""
    known = {"true": True, "1": True, "false": False, "0": False}
    word = match.value.lower() if isinstance(match, Exact) else ""
    if word not in known:
        raise InvalidInput("use true or false")
    return known[word]


def _ordered_key(column: str, read: Callable[[str], Any]) -> Condition:
    def condition(match: Match) -> Q:
        match match:
            case Exact(value):
                return Q(**{column: read(value)})
            case AnyOf(values):
                return Q(**{f"{column}__in": [read(value) for value in values]})
            case Range(low, high):
                ends = {"gte": low, "lte": high}
                return Q(**{f"{column}__{end}": read(value) for end, value in ends.items() if value is not None})
        raise InvalidInput(f"{match} does not fit here: use v, {{a b}} or [min~max]")

    return condition


def _number(text: str) -> int:
    try:
        number = int(text) if len(text) < 20 and text.isascii() else _NUMBER_MAX + 1
    except ValueError:
        raise InvalidInput(f"{text!r} is not a whole number") from None
    if abs(number) > _NUMBER_MAX:
        raise InvalidInput(f"{text[:40]!r} is not a whole number of 64 bits")
    return number


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidInput(f"{text!r} is not a time: write it as 2020-04-09 02:36:00") from None


def _pieces(text: str) -> Iterator[str]:
    position = 0
    while True:
        found = _PIECE.match(text, position)
        if found is None:
            raise InvalidInput(f"q is not understood at {text[position : position + 20]!r}: write key=value,key=~value")
        yield found.group()
        position = found.end()
        if position == len(text):
            return
        if text[position] != ",":
            raise InvalidInput(f"q has a bracket or a quote that is not closed at {text[position : position + 20]!r}")
        position += 1


def _condition(piece: str) -> tuple[str, Match]:
    key, equals, value = piece.partition("=")
    key = key.strip()
    if not equals or not key:
        raise InvalidInput(f"q needs key=value, not {piece[:40]!r}")
    return key, _match(value.strip())


def _match(value: str) -> Match:
    enclosing = value[:1] + value[-1:] if len(value) > 1 else ""
    if value.startswith("~"):
        return Fuzzy(_unquoted(value[1:]))
    if enclosing == "[]":
        return _range(value[1:-1])
    if enclosing == "{}":
        return AnyOf(_words(value[1:-1]))
    if enclosing == "()":
        return AllOf(_words(value[1:-1]))
    return Exact(_unquoted(value))


def _range(inner: str) -> Range:
    low, tilde, high = inner.partition("~")
    if not tilde or not (low.strip() or high.strip()):
        raise InvalidInput("a range is written [min~max]; one end may be left out")
    return Range(_unquoted(low) or None, _unquoted(high) or None)


def _words(inner: str) -> tuple[str, ...]:
    words = tuple("".join(found.groups(default="")) for found in _WORD.finditer(inner))
    if not words or _WORD.sub("", inner).strip():
        raise InvalidInput("a list holds values parted by blanks, each with blanks in it in quotes")
    return words


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
