"""The rules of a retention policy, as the REST API has them, and what each retains.

A rule looks at the artifacts of the repositories that it selects, takes those with a tag that it selects, and retains
some of them: the latest ones, those of the last days, or all.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from projects.selectors import OF_REPOSITORIES, OF_TAGS, Selection, Selector, loaded, parse_selectors, stored
from registry_core.errors import InvalidInput

RULES_MAX: Final = 15
ACTION: Final = "retain"
REPOSITORY: Final = "repository"
COUNT_MAX: Final = 1_000_000
DAYS_MAX: Final = 36_500


@dataclass(frozen=True, slots=True)
class Candidate:
    """An artifact that a policy may delete. `active_at`: the last push, retag or pull."""

    id: int
    digest: bytes
    tags: tuple[str, ...]
    size_bytes: int
    pushed_at: dt.datetime
    pulled_at: dt.datetime | None

    @property
    def active_at(self) -> dt.datetime:
        return max(self.pushed_at, self.pulled_at or self.pushed_at)


_NEVER: Final = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
Retain = Callable[[Sequence[Candidate], int, dt.datetime], list[Candidate]]
"""The retained ones of some candidates, by the rule's parameter and the current time."""


def _latest(key: Callable[[Candidate], dt.datetime]) -> Retain:
    def retain(candidates: Sequence[Candidate], count: int, _now: dt.datetime) -> list[Candidate]:
        return sorted(candidates, key=lambda each: (key(each), each.id), reverse=True)[:count]

    return retain


def _within_days(key: Callable[[Candidate], dt.datetime]) -> Retain:
    def retain(candidates: Sequence[Candidate], days: int, now: dt.datetime) -> list[Candidate]:
        since = now - dt.timedelta(days=days)
        return [each for each in candidates if key(each) >= since]

    return retain


@dataclass(frozen=True, slots=True)
class Template:
    """A kind of rule: its words for people, its parameter (COUNT or DAYS; empty for none), and what it retains."""

    text: str
    unit: str
    retain: Retain


TEMPLATES: Final[Mapping[str, Template]] = {
    "latestPushedK": Template("the most recently pushed # artifacts", "COUNT", _latest(lambda each: each.pushed_at)),
    "latestPulledN": Template(
        "the most recently pulled # artifacts", "COUNT", _latest(lambda each: each.pulled_at or _NEVER)
    ),
    "latestActiveK": Template("the most recently active # artifacts", "COUNT", _latest(lambda each: each.active_at)),
    "nDaysSinceLastPush": Template("pushed within the last # days", "DAYS", _within_days(lambda each: each.pushed_at)),
    "nDaysSinceLastPull": Template(
        "pulled within the last # days", "DAYS", _within_days(lambda each: each.pulled_at or _NEVER)
    ),
    "lastXDays": Template("active within the last # days", "DAYS", _within_days(lambda each: each.active_at)),
    "always": Template("always", "", lambda candidates, _number, _now: list(candidates)),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, checked. `number`: its parameter; 0 for a template that has none."""

    id: int
    priority: int
    is_disabled: bool
    template: str
    number: int
    selection: Selection

    def __str__(self) -> str:
        return f"rule {self.id} ({TEMPLATES[self.template].text.replace('#', str(self.number))})"

    def selects(self, candidate: Candidate) -> bool:
        """Whether the rule is about the artifact, given that it is about the repository."""
        if not candidate.tags:
            return all(selector.selects_untagged for selector in self.selection.tags)
        return any(self.selection.has_tag(tag) for tag in candidate.tags)

    def retained(self, candidates: Sequence[Candidate], now: dt.datetime) -> list[Candidate]:
        """Those of the candidates that the rule retains."""
        chosen = [each for each in candidates if self.selects(each)]
        return TEMPLATES[self.template].retain(chosen, self.number, now)


def parse_rule(
    number: int,
    *,
    priority: int,
    is_disabled: bool,
    action: str,
    template: str,
    params: Mapping[str, Any],
    tags: Sequence[Selector],
    repositories: Sequence[Selector],
) -> Rule:
    """A rule of a client, checked. Raises InvalidInput."""
    if action not in {"", ACTION}:
        raise InvalidInput(f"the action of a retention rule is {ACTION}, not {action[:32]!r}")
    known = TEMPLATES.get(template)
    if known is None:
        raise InvalidInput(f"{template[:64]!r} is no template of a retention rule: use one of {', '.join(TEMPLATES)}")
    selection = Selection(
        parse_selectors(tags, OF_TAGS, what="tags"),
        parse_selectors(repositories, OF_REPOSITORIES, what="repositories"),
    )
    return Rule(number, priority, is_disabled, template, _parameter(template, known, params), selection)


def check_rules(rules: Sequence[Rule]) -> None:
    """Raises InvalidInput for too many rules, or for two that say the same."""
    if len(rules) > RULES_MAX:
        raise InvalidInput(f"a retention policy has at most {RULES_MAX} rules, this one has {len(rules)}")
    said = {(rule.template, rule.number, rule.selection) for rule in rules}
    if len(said) < len(rules):
        raise InvalidInput("two rules of the policy say the same: leave one of them out")


def rule_to_json(rule: Rule) -> dict[str, Any]:
    """A rule as it is stored."""
    return {
        "id": rule.id,
        "priority": rule.priority,
        "is_disabled": rule.is_disabled,
        "template": rule.template,
        "number": rule.number,
        "tags": stored(rule.selection.tags),
        "repositories": stored(rule.selection.repositories),
    }


def rule_from_json(row: Mapping[str, Any]) -> Rule:
    """A rule from what is stored."""
    selection = Selection(loaded(row["tags"]), loaded(row["repositories"]))
    return Rule(row["id"], row["priority"], row["is_disabled"], row["template"], row["number"], selection)


def _parameter(name: str, template: Template, params: Mapping[str, Any]) -> int:
    if not template.unit:
        return 0
    most = COUNT_MAX if template.unit == "COUNT" else DAYS_MAX
    given = params.get(name)
    number = int(given) if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 9 else given
    if isinstance(number, bool) or not isinstance(number, int | float) or number != int(number) or number < 0:
        raise InvalidInput(f"the template {name} needs params.{name}, a whole number from 0 on")
    if number > most:
        raise InvalidInput(f"params.{name} is at most {most}, not {number}")
    return int(number)
