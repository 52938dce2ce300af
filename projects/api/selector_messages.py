"""Selectors of rules as clients write them, of immutability rules and others."""

from __future__ import annotations

from collections.abc import Iterable

from projects.selectors import Selector
from registry_core.api.messages import Body


class RuleSelector(Body):
    """Which tags (decoration `matches` or `excludes`) or repositories (`repoMatches`, `repoExcludes`) a rule is about:
    those whose name matches a glob pattern, or all others. `extras`: JSON such as `{"untagged":true}`."""

    kind: str = ""
    decoration: str = ""
    pattern: str = ""
    extras: str = ""


def selectors_of(given: Iterable[RuleSelector]) -> list[Selector]:
    """The selectors, not checked yet."""
    return [Selector(each.kind, each.decoration, each.pattern, each.extras) for each in given]


def selector_messages(selectors: Iterable[Selector]) -> list[RuleSelector]:
    """The messages for selectors."""
    return [
        RuleSelector(kind=each.kind, decoration=each.decoration, pattern=each.pattern, extras=each.extras)
        for each in selectors
    ]
