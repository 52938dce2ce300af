"""What the immutability rules of a project protect.

Tags that make an artifact an accessory (`sha256-….sig`) are exempt: signing goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from django.db.models import Q, QuerySet

from projects.models import ImmutabilityRule
from projects.selectors import Selection, loaded
from registry_core.content.descriptions import ACCESSORY_TAG, accessory_by_tag
from registry_core.content.models import Tag

NAME: Final = "immutability"
"""The name of the policy, which a project has while it has a rule that is not disabled."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that is not disabled."""

    id: int
    selection: Selection


def selection_of(rule: ImmutabilityRule) -> Selection:
    """What a stored rule selects."""
    return Selection(tags=loaded(rule.tag_selectors), repositories=loaded(rule.repository_selectors))


def rules_of(project_id: int) -> list[Rule]:
    """The rules of a project that are not disabled, as they are now."""
    rows = ImmutabilityRule.objects.filter(project_id=project_id, is_disabled=False).order_by("pk")
    return [Rule(row.pk, selection_of(row)) for row in rows]


def first_protected(rules: Iterable[Rule], repository: str, tags: Collection[str]) -> tuple[str, Rule] | None:
    """A tag that a rule protects, and the rule; None if there is none. `repository`: its name without its project."""
    protectable = [tag for tag in tags if accessory_by_tag(tag) is None]
    for rule in rules:
        if rule.selection.has_repository(repository) and (tag := rule.selection.first_of(protectable)) is not None:
            return tag, rule
    return None


class Protection:
    """Which tags of a project are immutable, for lists: no statement for projects without rules, one for others."""

    def __init__(self, project_id: int, policies: Collection[str]) -> None:
        self._project_id = project_id if NAME in policies else None
        self._by_repository: dict[str, list[Selection]] = {}

    def covers(self, repository: str, tag: str) -> bool:
        """Whether a tag is immutable. `repository`: its name without its project."""
        if self._project_id is None or accessory_by_tag(tag) is not None:
            return False
        selections = self._by_repository.get(repository)
        if selections is None:
            selections = [rule.selection for rule in self._rules if rule.selection.has_repository(repository)]
            self._by_repository[repository] = selections
        return any(selection.has_tag(tag) for selection in selections)

    def condition(self, repository: str) -> Q:
        """The same for all tags of one repository, as a condition on rows of `Tag`."""
        condition = Q(pk__in=[])
        for rule in self._rules if self._project_id is not None else []:
            if rule.selection.has_repository(repository):
                condition |= Selection(rule.selection.tags, ()).condition(tag="name", repository="")
        return condition & ~Q(name__regex=ACCESSORY_TAG)

    @cached_property
    def _rules(self) -> list[Rule]:
        return [] if self._project_id is None else rules_of(self._project_id)


def tags_selected(project_id: int, selection: Selection) -> QuerySet[Tag]:
    """The living tags of a project that a rule with this selection protects."""
    living = Tag.objects.filter(
        repository__project_id=project_id, repository__deleted_at=None, deleted_at=None
    ).exclude(name__regex=ACCESSORY_TAG)
    return living.filter(selection.condition(tag="name", repository="repository__name"))
