"""Scopes as clients ask for them: `repository:library/alpine:pull,push` (docker's "Token Scope Documentation").

Tolerant: what is not a scope is left out, since a client that asks for nonsense gets a token without it, not an error.
A name may hold colons: the type ends at the first, the actions begin after the last.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SCOPES_MAX: Final = 100
_SCOPE_MAX_CHARS: Final = 1024
_ACTIONS_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Scope:
    """One resource and the actions asked for on it, in the order in which they were asked."""

    type: str
    name: str
    actions: tuple[str, ...]


def parse_scopes(texts: Iterable[str]) -> list[Scope]:
    """The scopes in the `scope` parameters, each resource once, with the actions of all its mentions.

    Several scopes may be parted by blanks in one parameter. At most SCOPES_MAX resources are looked at.
    """
    asked: dict[tuple[str, str], dict[str, None]] = {}
    for scope in (_parse(word) for text in texts for word in text.split()):
        if scope is None:
            continue
        resource = (scope.type, scope.name)
        if resource in asked or len(asked) < SCOPES_MAX:
            asked.setdefault(resource, {}).update(dict.fromkeys(scope.actions))
    return [Scope(kind, name, tuple(actions)[:_ACTIONS_MAX]) for (kind, name), actions in asked.items()]


def _parse(word: str) -> Scope | None:
    kind, _, rest = word.partition(":")
    name, colon, actions = rest.rpartition(":")
    if len(word) > _SCOPE_MAX_CHARS or not colon or not kind or not name:
        return None
    kind = kind.partition("(")[0]  # `repository(plugin)`: the class in parentheses says nothing about rights
    return Scope(kind, name, tuple(action for action in actions.split(",") if action)) if kind else None
