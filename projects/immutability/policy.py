"""The policy behind immutability rules: what they protect is neither moved nor deleted, on any path, by anybody."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from projects.immutability.rules import NAME, first_protected, rules_of
from projects.moved_tags import moved_tags
from registry_core.content.errors import Protected
from registry_core.content.policies import Policy
from registry_core.content.policy_contexts import (
    Context,
    CopyContext,
    DeletePlan,
    Moment,
    RestoreContext,
    TagContext,
)
from registry_core.content.repositories import RepositoryRef

_WHAT_NEXT: Final = "disable or change the rule first"


class Immutability(Policy):
    """Asks for the rules only when a tag that exists is to be moved or deleted."""

    name = NAME
    moments = frozenset({Moment.TAG, Moment.DELETE, Moment.COPY, Moment.RESTORE})
    only_protects = True

    def check(self, context: Context) -> None:
        """Raises Protected."""
        match context:
            case TagContext(repository=repository, tag=tag, old=old, content=content):
                moved = [tag] if old is not None and old != content.digest else []
                _refuse_moves(repository, moved)
            case CopyContext(repository=repository, tags=tags, content=content):
                _refuse_moves(repository, moved_tags(repository, dict.fromkeys(tags, content.digest)))
            case RestoreContext(repository=repository, tags=restored):
                _refuse_moves(repository, moved_tags(repository, restored))
            case DeletePlan(repository=RepositoryRef() as repository):
                _refuse_delete(context, repository)


def _refuse_moves(repository: RepositoryRef, tags: Collection[str]) -> None:
    if found := _protected(repository, tags):
        tag, number = found
        raise Protected(
            f"the tag {tag} of {repository.name} is immutable by rule {number} of the project: "
            f"push under another tag, or {_WHAT_NEXT}"
        )


def _refuse_delete(plan: DeletePlan, repository: RepositoryRef) -> None:
    if found := _protected(repository, plan.tags):
        tag, number = found
        whole = "" if plan.whole == "tag" else f", so the {plan.whole} cannot be deleted"
        raise Protected(
            f"the tag {tag} of {repository.name} is immutable by rule {number} of the project{whole}: {_WHAT_NEXT}"
        )


def _protected(repository: RepositoryRef, tags: Collection[str]) -> tuple[str, int] | None:
    if not tags:
        return None
    found = first_protected(rules_of(repository.project.id), repository.name.path, tags)
    return None if found is None else (found[0], found[1].id)
