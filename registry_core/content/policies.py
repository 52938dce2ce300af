"""Policies: who else has a say when content is served or changed, and for which projects.

An app registers its policies in `AppConfig.ready()`; the package of a third party names, in the entry-point group
`portolan.policies`, a function that takes the registry. A policy allows by returning and refuses by raising `Refused`.
The operations on content ask, so every way in meets the same policies: a change is asked about in its transaction,
under the locks of what it concerns.

A policy costs only where it applies. `concerns` looks at the project that is at hand anyway, and a project that no
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


class Policy(ABC):
    """A rule about content. `name` is unique, and is what a project has among its `policies` while it applies there.

    `key`, `depends_on` and `expires_s` are asked at the moment of a pull alone, before `check` and on the event loop:
    they look at the context and wait for nothing. Requests with the same key share one verdict, until a generation that
    it depends on changes or it expires. Every other moment is checked each time.
    """

    name: ClassVar[str]
    moments: ClassVar[frozenset[Moment]]
    looks_at_client: ClassVar[bool] = False
    """Whether the verdict on a pull depends on the client's address. Each address then has verdicts of its own, and
    whole answers are not cached for the projects that the policy concerns."""

    def concerns(self, project: ProjectRef) -> bool:
        """Whether the policy applies in the project. Called for each request: looks at the project alone."""
        return self.name in project.policies

    def key(self, context: PullContext) -> Hashable:
        """What the verdict on a pull depends on in its context, but for the client's address."""
        cause, repository = context.cause, context.repository
        return cause.subject, cause.reason, repository.id, context.content, context.tag, context.is_head

    def depends_on(self, context: PullContext) -> tuple[str, ...]:
        """The generations whose change ends the verdict on a pull."""
        return (context.repository.key,)

    def expires_s(self, context: PullContext) -> float:
        """For how many seconds the verdict on a pull holds at most."""
        return VERDICT_S

    @abstractmethod
    def check(self, context: Context) -> None:
        """Allow by returning. Raises Refused. Runs in a thread, of a change within its transaction."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Content that was asked for and is not here. `repository` is None when there is none of that name yet."""

    cause: Cause
    project: ProjectRef
    name: RepositoryName
    repository: RepositoryRef | None
    kind: Literal["manifest", "blob"]
    reference: str | Digest


class Provider(ABC):
    """Gets content that is missing from elsewhere, and stores it by the same operations as a push."""

    name: ClassVar[str]

    def concerns(self, project: ProjectRef) -> bool:
        """Whether the project has its content from this provider. As of a policy."""
        return self.name in project.policies

    @abstractmethod
    async def supply(self, missing: Missing) -> bool:
        """Store what is missing; whether it is there now. Those who ask for the same meanwhile wait for one call."""


class Policies:
    """The registered policies and providers."""

    def __init__(self) -> None:
        self._by_name: dict[str, Policy] = {}
        self._by_moment: dict[Moment, tuple[Policy, ...]] = dict.fromkeys(Moment, ())
        self._providers: dict[str, Provider] = {}

    def register(self, policy: Policy) -> None:
        """Ask the policy from now on. Raises ValueError when the name is taken."""
        if policy.name in self._by_name:
            raise ValueError(f"there is a policy {policy.name} already: give this one another name")
        self._by_name[policy.name] = policy
        self._sort()

    def unregister(self, policy: Policy) -> None:
        """No longer ask the policy."""
        del self._by_name[policy.name]
        self._sort()

    def register_provider(self, provider: Provider) -> None:
        """Ask the provider for what is missing. Raises ValueError when the name is taken."""
        if provider.name in self._providers:
            raise ValueError(f"there is a provider {provider.name} already: give this one another name")
        self._providers[provider.name] = provider

    def unregister_provider(self, provider: Provider) -> None:
        """No longer ask the provider."""
        del self._providers[provider.name]

    def concerned(self, moment: Moment, project: ProjectRef) -> list[Policy]:
        """The policies that have a say at this moment in this project."""
        return [policy for policy in self._by_moment[moment] if policy.concerns(project)]

    def is_concerned(self, project: ProjectRef) -> bool:
        """Whether any policy has a say in this project."""
        return any(policy.concerns(project) for policy in self._by_name.values())

    def providers(self, project: ProjectRef) -> list[Provider]:
        """Who may have what is missing in this project."""
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
    """The refusal of a policy, which is noted for the audit log: to be raised."""
    refusals.note(policy.name, context)
    return error


policies = Policies()


@cache
def plugins() -> EntryPoints:
    """The installed packages of the group `portolan.policies`. Looked for once, also on behalf of processes to be
    forked: it reads what every package of the environment says of itself."""
    return entry_points(group=GROUP)


def load_plugins() -> None:
    """Let the installed packages of the group register their policies. Once, when a process starts that serves or
    changes content."""
    for entry_point in plugins():
        entry_point.load()(policies)
