"""A policy that notes what it is asked, and refuses when it is told to."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from contextlib import contextmanager

from registry_core.content.errors import Refused
from registry_core.content.policies import Policy, policies
from registry_core.content.policy_contexts import Context, Moment, PullContext
from registry_core.content.repositories import ProjectRef

REFUSAL = "the policy of this test does not allow it"


class Recorder(Policy):
    """Concerns the projects of these names (None: those that have it among their policies)."""

    name = "recorder"
    moments = frozenset(Moment)

    def __init__(self, *projects: str, refused: Collection[Moment] = (), is_per_client: bool = False) -> None:
        self.projects = projects
        self.refused = frozenset(refused)
        self.looks_at_client = is_per_client  # type: ignore[misc]  # one class for both kinds
        self.asked: list[Context] = []

    def concerns(self, project: ProjectRef) -> bool:
        return project.name in self.projects if self.projects else super().concerns(project)

    def key(self, context: PullContext) -> Hashable:
        return context.repository.id, context.content

    def check(self, context: Context) -> None:
        self.asked.append(context)
        if context.moment in self.refused:
            raise Refused(REFUSAL)

    def at(self, moment: Moment) -> list[Context]:
        """What it was asked at a moment."""
        return [context for context in self.asked if context.moment == moment]


@contextmanager
def registered(policy: Recorder) -> Iterator[Recorder]:
    """Have the policy asked within the block."""
    policies.register(policy)
    try:
        yield policy
    finally:
        policies.unregister(policy)
