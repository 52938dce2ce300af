"""The policy behind legal holds: a held artifact keeps its tags and what is attached to it, and is not deleted."""

from __future__ import annotations

from projects.holds.queries import NAME, first_covering, first_held, first_held_in
from projects.models import Hold
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
from registry_core.digests import Digest


class LegalHold(Policy):
    """Asks for holds only when a tag that exists is to be moved, or something is to be deleted.

    A held artifact may get new tags and accessories. A tag of it can be neither moved nor deleted: an auditor must find
    it under the names that it had.
    """

    name = NAME
    moments = frozenset({Moment.TAG, Moment.DELETE, Moment.COPY, Moment.RESTORE})
    only_protects = True

    def check(self, context: Context) -> None:
        """Raises Protected."""
        match context:
            case TagContext(repository=repository, tag=tag, old=Digest() as old, content=content):
                _refuse_moves(repository, {tag: old} if old != content.digest else {})
            case CopyContext(repository=repository, tags=tags, content=content):
                _refuse_moves(repository, moved_tags(repository, dict.fromkeys(tags, content.digest)))
            case RestoreContext(repository=repository, tags=restored):
                _refuse_moves(repository, moved_tags(repository, restored))
            case DeletePlan():
                _refuse_delete(context)


def _refuse_moves(repository: RepositoryRef, moved: dict[str, Digest]) -> None:
    digest = first_held(repository, moved.values()) if moved else None
    if digest is not None:
        tag = next(tag for tag, old in moved.items() if old == digest)
        raise Protected(
            f"the tag {tag} of {repository.name} points at {digest}, which is under legal hold: "
            "push under another tag, or have the hold released first"
        )


def _refuse_delete(plan: DeletePlan) -> None:
    repository = plan.repository
    if repository is None:
        _refuse_project(plan)
    elif plan.whole != "blob":
        named = {*plan.artifacts.values(), *plan.tags.values()}
        is_all = plan.whole == "repository"
        digest = first_held_in(repository) if is_all else first_covering(repository, named)
        if digest is not None:
            raise Protected(
                f"{repository.name}@{digest} is under legal hold, with its tags and what is attached to it: "
                "have the hold released first"
            )


def _refuse_project(plan: DeletePlan) -> None:
    if Hold.objects.filter(project_id=plan.project.id).exists():
        raise Protected(f"artifacts of the project {plan.project.name} are under legal hold: have them released first")
