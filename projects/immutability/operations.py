"""Changes of immutability rules. Each function is one transaction; what it protects is protected when it returns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from django.db.models.functions import Now

from projects.events import RuleCreated, RuleDeleted, RuleEvent, RuleUpdated
from projects.immutability.rules import NAME
from projects.models import ImmutabilityRule
from projects.selectors import OF_REPOSITORIES, OF_TAGS, Selection, Selector, parse_selectors, stored
from registry_core.access import Cause
from registry_core.content.models import Project
from registry_core.content.project_policies import policies_changing, policy_keys
from registry_core.content.repositories import project_ref, retried
from registry_core.errors import AlreadyExists, InvalidInput, NotFound
from registry_core.events.outbox import emit

RULES_MAX: Final = 30
"""The most rules of a project. A delete of many tags evaluates all of them."""


@dataclass(frozen=True, slots=True)
class Changes:
    """New values of a rule; None: as it is."""

    selection: Selection | None = None
    priority: int | None = None
    is_disabled: bool | None = None


def parse_selection(tags: list[Selector], repositories: list[Selector]) -> Selection:
    """What a rule of a client selects. Raises InvalidInput."""
    return Selection(
        tags=parse_selectors(tags, OF_TAGS, what="tags"),
        repositories=parse_selectors(repositories, OF_REPOSITORIES, what="repositories"),
    )


@retried
def create_rule(
    *, project: Project, selection: Selection, cause: Cause, priority: int = 0, is_disabled: bool = False
) -> ImmutabilityRule:
    """Create a rule. Raises AlreadyExists for the selectors of another rule, InvalidInput if there are too many rules,
    or NotFound if the project is deleted."""
    with _changing(project, cause):
        if ImmutabilityRule.objects.filter(project=project).count() >= RULES_MAX:
            raise InvalidInput(f"a project has at most {RULES_MAX} immutability rules: combine some, as in {{a,b}}")
        rule = ImmutabilityRule(project=project)
        _apply(rule, Changes(selection, priority, is_disabled))
        rule.save(force_insert=True)
        _emit(RuleCreated, rule, cause)
    return rule


@retried
def update_rule(*, project: Project, rule_id: int, changes: Changes, cause: Cause) -> None:
    """Change a rule. Raises NotFound, or AlreadyExists for the selectors of another rule."""
    with _changing(project, cause):
        rule = _find(project, rule_id)
        _apply(rule, changes)
        rule.updated_at = Now()
        rule.save(force_update=True)
        _emit(RuleUpdated, rule, cause)


@retried
def delete_rule(*, project: Project, rule_id: int, cause: Cause) -> None:
    """Delete a rule. Raises NotFound."""
    with _changing(project, cause):
        rule = _find(project, rule_id)
        _emit(RuleDeleted, rule, cause)
        rule.delete()


@contextmanager
def _changing(project: Project, cause: Cause) -> Iterator[None]:
    """One transaction that changes rules of a project, and turns the policy on or off."""
    with policies_changing(project=project_ref(project), cause=cause) as applied:
        yield
        is_on = ImmutabilityRule.objects.filter(project=project, is_disabled=False).exists()
        applied.turn(NAME, is_on=is_on)


def _find(project: Project, rule_id: int) -> ImmutabilityRule:
    rule = ImmutabilityRule.objects.filter(project=project, pk=rule_id).first()
    if rule is None:
        raise NotFound(f"the project {project.name} has no immutability rule {rule_id}")
    return rule


def _apply(rule: ImmutabilityRule, changes: Changes) -> None:
    if changes.selection is not None:
        rule.tag_selectors = stored(changes.selection.tags)
        rule.repository_selectors = stored(changes.selection.repositories)
    if changes.priority is not None:
        rule.priority = changes.priority
    if changes.is_disabled is not None:
        rule.is_disabled = changes.is_disabled
    _refuse_duplicate(rule)


def _refuse_duplicate(rule: ImmutabilityRule) -> None:
    equal = ImmutabilityRule.objects.filter(
        project_id=rule.project_id,
        tag_selectors=rule.tag_selectors,
        repository_selectors=rule.repository_selectors,
    ).exclude(pk=rule.pk)
    if (other := equal.first()) is not None:
        raise AlreadyExists(f"rule {other.pk} of the project has the same selectors: change or enable that one")


def _emit(kind: type[RuleEvent], rule: ImmutabilityRule, cause: Cause) -> None:
    selectors = [*rule.tag_selectors, *rule.repository_selectors]
    event = kind(
        rule=rule.pk,
        is_disabled=rule.is_disabled,
        selectors=[f"{selector['decoration']} {selector['pattern']}" for selector in selectors],
    )
    emit(event, cause=cause, project_id=rule.project_id, changed=policy_keys(project_ref(rule.project)))
