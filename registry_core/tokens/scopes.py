"""Scopes in token requests: `repository:library/alpine:pull,push` (docker's "Token Scope Documentation").

Tolerant: invalid scopes are left out, so that a client gets a token without them rather than an error. A name may
contain colons: the type ends at the first, the actions begin after the last.

The number of scopes is not limited here: some clients request one token for all repositories that they use, and a token
without the last ones would fail where it is used. Requests and tokens are limited in bytes, with an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from registry_core.access import ALL_ACTIONS

EVERY_ACTION: Final = "*"
_GRANTABLE: Final = ALL_ACTIONS | {EVERY_ACTION}


@dataclass(frozen=True, slots=True)
class Scope:
    """A resource and the requested actions that can be granted at all, in the order of the request."""

    type: str
    name: str
    actions: tuple[str, ...]


def parse_scopes(texts: Iterable[str]) -> list[Scope]:
    """The scopes in the `scope` parameters: each resource once, with the actions of all its occurrences.

    Several scopes in one parameter are separated by blanks.
    """
    asked: dict[tuple[str, str], dict[str, None]] = {}
    for scope in (_parse(word) for text in texts for word in text.split()):
        if scope is not None:
            asked.setdefault((scope.type, scope.name), {}).update(dict.fromkeys(scope.actions))
    return [Scope(kind, name, tuple(actions)) for (kind, name), actions in asked.items()]


def _parse(word: str) -> Scope | None:
    kind, _, rest = word.partition(":")
    name, colon, actions = rest.rpartition(":")
    kind = kind.partition("(")[0]  # `repository(plugin)`: the class in parentheses does not affect permissions
    if not colon or not kind or not name:
        return None
    return Scope(kind, name, tuple(action for action in actions.split(",") if action in _GRANTABLE))
