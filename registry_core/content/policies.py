"""Policies: rules that can refuse when content is served or changed, and the projects to which they apply.

An app registers its policies in `AppConfig.ready()`; a third party's package names, in the entry-point group
`portolan.policies`, a function that takes the registry. A policy allows by returning and refuses by raising `Refused`.
The operations on content ask, so every endpoint enforces the same policies: a change is checked in its transaction,
under the locks of what it changes.

A policy costs only where it applies. `concerns` looks at the project, which is loaded anyway, and a project that no
policy concerns keeps every fast path.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from registry_core.access import Cause
from registry_core.content import refusals
from registry_core.content.errors import Refused
from registry_core.content.policy_contexts import Context, Moment, PullContext
from registry_core.content.read_only import check_writable
from registry_core.digests import Digest
from registry_core.names import RepositoryName

if TYPE_CHECKING:
    from registry_core.content.repositories import ProjectRef, RepositoryRef

GROUP: Final = "portolan.policies"
VERDICT_S: Final = 3600.0
_OF_A_PUSH: Final = (Moment.CREATE, Moment.UPLOAD, Moment.MOUNT, Moment.COPY, Moment.PUT, Moment.TAG)


class Policy(ABC):
    """A rule about content. `name` is unique; a project has it among its `policies` while the policy applies there.

    `key`, `depends_on` and `expires_s` are called for pulls only, before `check` and on the event loop: they look at
    the context and must not block. Requests with the same key share one verdict, until a generation that it depends on
    changes or it expires. At every other moment `check` runs each time.
    """

    name: ClassVar[str]
    moments: ClassVar[frozenset[Moment]]
    only_protects: ClassVar[bool] = False
    """Whether it only protects what exists: it never refuses a tag that does not exist yet, or what is pushed to a
    repository that does not. It may not be asked about these, so such pushes stay as fast as without it."""
    looks_at_client: ClassVar[bool] = False
    """Whether the verdict on a pull depends on the client's address. Verdicts are then cached per address, and whole
    answers are not cached for the projects that the policy concerns."""

    def concerns(self, project: ProjectRef) -> bool:
        """Whether the policy applies in the project. Called for each request; looks at the project only."""
        return self.name in project.policies

    def key(self, context: PullContext) -> Hashable:
        """The inputs of the verdict on a pull, except the client's address."""
        cause, repository = context.cause, context.repository
        return cause.subject, cause.reason, repository.id, context.content, context.tag, context.is_head

    def depends_on(self, context: PullContext) -> tuple[str, ...]:
        """The generations that invalidate the verdict on a pull."""
        return (context.repository.key,)

    def expires_s(self, context: PullContext) -> float:
        """The most seconds for which the verdict on a pull is valid."""
        return VERDICT_S

    @abstractmethod
    def check(self, context: Context) -> None:
        """Allow by returning. Raises Refused. Runs in a thread; for a change, within its transaction."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Requested content that is not here. `repository` is None if there is none with that name yet."""

    cause: Cause
    project: ProjectRef
    name: RepositoryName
    repository: RepositoryRef | None
    kind: Literal["manifest", "blob"]
    reference: str | Digest


class Provider(ABC):
    """Fetches missing content from elsewhere and stores it by the same operations as a push."""

    name: ClassVar[str]

    def concerns(self, project: ProjectRef) -> bool:
        """Whether the provider supplies content of the project. As for a policy."""
        return self.name in project.policies

    @abstractmethod
    async def supply(self, missing: Missing) -> bool:
        """Store what is missing; returns whether it is there now. Simultaneous requests for the same content wait for
        one call."""


class Policies:
    """The registered policies and providers."""

    def __init__(self) -> None:
        self._by_name: dict[str, Policy] = {}
        self._by_moment: dict[Moment, tuple[Policy, ...]] = dict.fromkeys(Moment, ())
        self._providers: dict[str, Provider] = {}

    def register(self, policy: Policy) -> None:
        """Register a policy. Raises ValueError if the name is taken."""
        if policy.name in self._by_name:
            raise ValueError(f"there is a policy {policy.name} already: give this one another name")
        self._by_name[policy.name] = policy
        self._sort()

    def unregister(self, policy: Policy) -> None:
        """Remove a policy."""
        del self._by_name[policy.name]
        self._sort()

    def register_provider(self, provider: Provider) -> None:
        """Register a provider. Raises ValueError if the name is taken."""
        if provider.name in self._providers:
            raise ValueError(f"there is a provider {provider.name} already: give this one another name")
        self._providers[provider.name] = provider

    def unregister_provider(self, provider: Provider) -> None:
        """Remove a provider."""
        del self._providers[provider.name]

    def concerned(self, moment: Moment, project: ProjectRef) -> list[Policy]:
        """The policies that are asked at this moment in this project."""
        return [policy for policy in self._by_moment[moment] if policy.concerns(project)]

    def concerned_with_new_tags(self, project: ProjectRef) -> bool:
        """Whether a policy is asked about tags that do not exist yet in this project."""
        return not all(policy.only_protects for policy in self.concerned(Moment.TAG, project))

    def concerned_with_new_repositories(self, project: ProjectRef) -> bool:
        """Whether a policy is asked about a repository that a push creates in this project, or about what it pushes."""
        asked = (policy for moment in _OF_A_PUSH for policy in self.concerned(moment, project))
        return not all(policy.only_protects for policy in asked)

    def providers(self, project: ProjectRef) -> list[Provider]:
        """The providers of this project."""
        return [provider for provider in self._providers.values() if provider.concerns(project)]

    def ask(self, context: Context) -> None:
        """Ask about a change. Raises Refused by a policy, or while the registry is read only."""
        check_writable()
        for policy in self.concerned(context.moment, context.project):
            try:
                policy.check(context)
            except Refused as error:
                raise refused(policy, context, error) from None

    def _sort(self) -> None:
        for moment in Moment:
            self._by_moment[moment] = tuple(policy for policy in self._by_name.values() if moment in policy.moments)


def refused(policy: Policy, context: Context, error: Refused) -> Refused:
    """The error for a policy's refusal, which it also records for the audit log; the caller raises it."""
    refusals.note(policy.name, context)
    return error


policies = Policies()


@cache
def plugins() -> EntryPoints:
    """The installed packages in the group `portolan.policies`. Computed once, before processes are forked: it reads the
    metadata of every installed package."""
    return entry_points(group=GROUP)


def load_plugins() -> None:
    """Let the packages of the group register their policies. Called once, at the start of a process that serves or
    changes content."""
    for entry_point in plugins():
        entry_point.load()(policies)
