"""Verdicts: what policies said about pulls, cached for all requests that they cannot tell apart.

`before_pull` is asked by all that serves or reads content for somebody. The data path asks for the verdicts one by one
(`registry_core.distribution.pull_policies`), so that the event loop does not wait and a cached answer can depend on
them.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from registry_core.caching.cache import Basis, Cache, Seen
from registry_core.content.errors import Refused
from registry_core.content.policies import Policy, policies, refused
from registry_core.content.policy_contexts import Moment, PullContext

VERDICT_BYTES: Final = 1024
_verdict_cache: Cache[Verdict] = Cache("verdicts", share=1 / 8)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy said: allowed (`kind` is None), or refused by an error of this kind with this message."""

    kind: type[Refused] | None
    message: str


_ALLOWED: Final = Verdict(None, "")


@dataclass(frozen=True, slots=True)
class Question:
    """One policy asked about one pull. `key`: the same for all pulls that share the verdict."""

    policy: Policy
    context: PullContext
    key: Hashable

    def cached(self) -> Verdict | None:
        """The verdict, when it was given before and holds."""
        return _verdict_cache.get(self.key)

    def seen(self) -> Seen:
        """The generations that the verdict depends on, as they are now."""
        return _verdict_cache.begin(self.policy.depends_on(self.context))

    def answer(self) -> Verdict:
        """The cached verdict, or what the policy says now, which is cached."""
        policy, context = self.policy, self.context
        return _verdict_cache.read_through(
            self.key,
            self._check,
            depends_on=policy.depends_on(context),
            size_bytes=lambda verdict: VERDICT_BYTES + len(verdict.message),
            ttl_s=policy.expires_s(context),
        )

    def basis(self, verdict: Verdict) -> Basis | None:
        """What an answer that the verdict allowed depends on; None when it cannot be cached for all who ask the
        same."""
        if self.policy.looks_at_client:
            return None
        return _verdict_cache.basis(self.key, lambda cached: cached == verdict)

    def enforce(self, verdict: Verdict) -> None:
        """Raises Refused when that is the verdict."""
        if verdict.kind is not None:
            raise refused(self.policy, self.context, verdict.kind(verdict.message))

    def _check(self) -> Verdict:
        try:
            self.policy.check(self.context)
        except Refused as error:
            return Verdict(type(error), error.message)
        return _ALLOWED


def questions(context: PullContext) -> list[Question]:
    """What is to be asked about a pull; most often nothing."""
    return [
        Question(policy, context, _key(policy, context)) for policy in policies.concerned(Moment.PULL, context.project)
    ]


def before_pull(context: PullContext) -> None:
    """Ask whether content may be served. Raises Refused."""
    for question in questions(context):
        question.enforce(question.answer())


def _key(policy: Policy, context: PullContext) -> Hashable:
    client = context.cause.client if policy.looks_at_client else ""
    return policy.name, policy.key(context), client
