"""Verdicts: what policies decided about pulls, cached for all requests with the same key.

`before_pull` is called by everything that serves or reads content on behalf of a client. The data path gets verdicts
one by one (`registry_core.distribution.pull_policies`), so that the event loop does not block and a cached answer can
depend on them.
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
    """A policy's decision: allowed (`kind` is None), or refused by an error of this kind with this message."""

    kind: type[Refused] | None
    message: str


_ALLOWED: Final = Verdict(None, "")


@dataclass(frozen=True, slots=True)
class Question:
    """One policy asked about one pull. `key`: equal for all pulls that share the verdict."""

    policy: Policy
    context: PullContext
    key: Hashable

    def cached(self) -> Verdict | None:
        """The cached verdict, if it is still valid."""
        return _verdict_cache.get(self.key)

    def seen(self) -> Seen:
        """The current generations that the verdict depends on."""
        return _verdict_cache.begin(self.policy.depends_on(self.context))

    def answer(self) -> Verdict:
        """The cached verdict, or the decision of the policy now, which is cached."""
        policy, context = self.policy, self.context
        return _verdict_cache.read_through(
            self.key,
            self._check,
            depends_on=policy.depends_on(context),
            size_bytes=lambda verdict: VERDICT_BYTES + len(verdict.message),
            ttl_s=policy.expires_s(context),
        )

    def basis(self, verdict: Verdict) -> Basis | None:
        """What an answer that the verdict allowed depends on; None if it cannot be cached for all equal requests."""
        if self.policy.looks_at_client:
            return None
        return _verdict_cache.basis(self.key, lambda cached: cached == verdict)

    def enforce(self, verdict: Verdict) -> None:
        """Raises Refused if the verdict is a refusal."""
        if verdict.kind is not None:
            raise refused(self.policy, self.context, verdict.kind(verdict.message))

    def _check(self) -> Verdict:
        try:
            self.policy.check(self.context)
        except Refused as error:
            return Verdict(type(error), error.message)
        return _ALLOWED


def questions(context: PullContext) -> list[Question]:
    """The questions to ask about a pull; usually none."""
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
