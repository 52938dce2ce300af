"""The `q=` language of lists: `key=value` separated by commas, and what each resource supports.

A value is exact (`v`), fuzzy (`~v`), a range (`[min~max]`, either end may be open), one of a list (`{a b c}`) or all of
a list (`(a b c)`). Text with blanks or commas is quoted. Keys come from the resource's own table and map to columns
that it names: client text never becomes part of a statement by itself. Since anybody may ask, the cost is bounded: the
number of conditions, one per key, and the number of values in a list.
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
CONDITIONS_MAX: Final = 10
VALUES_MAX: Final = 50
M = TypeVar("M", bound=Model)
V = TypeVar("V")
_PIECE: Final = re.compile(r"""(?:"[^"]*"|'[^']*'|\[[^\]]*\]|\{[^}]*\}|\([^)]*\)|[^,"'\[{(])+""")
_WORD: Final = re.compile(r"""(?:"([^"]*)"|'([^']*)'|([^\s"']+))""")
_NUMBER_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Exact:
    """The exact value."""

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
"""A key of a resource: converts a match into a condition on rows. Raises InvalidInput if the match does not fit."""


def parse_q(text: str) -> dict[str, Match]:
    """The conditions in `text` by key, in order; keys are folded (see `folded`). Raises InvalidInput."""
    if len(text) > Q_MAX:
        raise InvalidInput(f"q has at most {Q_MAX} characters")
    if "\x00" in (text := unquote(text)):
        raise InvalidInput("q may not contain the character NUL")
    conditions: dict[str, Match] = {}
    for key, match in map(_condition, _pieces(text) if text.strip() else ()):
        if folded(key) in conditions:
            raise InvalidInput(f"q has the key {key[:40]!r} twice: name each key once, several values as {{a b}}")
        if len(conditions) == CONDITIONS_MAX:
            raise InvalidInput(f"q has at most {CONDITIONS_MAX} conditions: leave some out")
        conditions[folded(key)] = match
    return conditions


def folded(key: str) -> str:
    """A key without case and underscores: `UserID`, `user_id` and `userid` are the same key.

    Clients write keys either like the contract's fields or like the fields of Harbor's own types.
    """
    return key.replace("_", "").lower()


def known_key(key: str, table: Mapping[str, V]) -> V | None:
    """The entry of `table` for a key, however it is written; None: unknown."""
    return table[key] if key in table else {folded(name): value for name, value in table.items()}.get(folded(key))


def filtered(rows: QuerySet[M], text: str, keys: Mapping[str, Condition]) -> QuerySet[M]:
    """The rows that meet all conditions in `text`, by the resource's `keys`. Raises InvalidInput."""
    for key, match in parse_q(text).items():
        condition = known_key(key, keys)
        if condition is None:
            known = ", ".join(sorted(keys)) or "none"
            raise InvalidInput(f"q has the unknown key {key[:40]!r}: use one of {known}")
        rows = rows.filter(condition(match))
    return rows


def text_key(column: str, *, is_lower: bool = False) -> Condition:
    """A key for text. `is_lower`: the column is in lower case, so the search ignores case."""

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
    """A key for times, written as `2020-04-09 02:36:00` or in RFC 3339; UTC if no zone is given."""
    return _ordered_key(column, _time)


def truth_key(column: str) -> Condition:
    """A key for `true` and `false`."""

    def condition(match: Match) -> Q:
        return Q(**{column: truth(match)})

    return condition


def choice_key(column: str, choices: Mapping[str, Any]) -> Condition:
    """A key for a few words, which are mapped to values of the column."""

    def condition(match: Match) -> Q:
        words = (match.value,) if isinstance(match, Exact) else match.values if isinstance(match, AnyOf) else ()
        if not words or any(word not in choices for word in words):
            raise InvalidInput(f"use one of {', '.join(sorted(choices))}")
        return Q(**{f"{column}__in": [choices[word] for word in words]})

    return condition


def fixed_key(value: int) -> Condition:
    """A key for a number or boolean that is the same in all rows."""

    def condition(match: Match) -> Q:
        return Q() if _fits(value, match) else Q(pk__in=[])

    return condition


def _fits(value: int, match: Match) -> bool:
    if isinstance(value, bool):
        return truth(match) == value
    match match:
        case Exact(wanted):
            return _number(wanted) == value
        case AnyOf(values):
            return value in [_number(wanted) for wanted in values]
        case Range(low, high):
            return (low is None or _number(low) <= value) and (high is None or value <= _number(high))
    raise InvalidInput("use a number, {a b} or [min~max]")


def truth(match: Match) -> bool:
    """The boolean in a match. Raises InvalidInput."""
    known = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
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
            raise InvalidInput(f"q is invalid at {text[position : position + 20]!r}: write key=value,key=~value")
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
    words = tuple(dict.fromkeys("".join(found.groups(default="")) for found in _WORD.finditer(inner)))
    if not words or _WORD.sub("", inner).strip():
        raise InvalidInput("a list has values separated by blanks; quote values that contain blanks")
    if len(words) > VALUES_MAX:
        raise InvalidInput(f"a list in q has at most {VALUES_MAX} values: send several requests")
    return words


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
