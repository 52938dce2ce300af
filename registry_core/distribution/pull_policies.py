"""Policies on the data path: verdicts on pulls, and providers of missing content, without blocking the event loop."""

from __future__ import annotations

from functools import partial

from registry_core.access import CLIENT, Cause
from registry_core.caching.cache import Basis
from registry_core.content.policies import Missing, Provider, policies
from registry_core.content.policy_contexts import Content, PullContext
from registry_core.content.repositories import RepositoryRef
from registry_core.content.verdicts import Question, Verdict, questions
from registry_core.distribution.identity import Identity
from registry_core.distribution.services import Services
from registry_core.http import threads
from registry_core.http.messages import Request


def cause_of(request: Request, identity: Identity) -> Cause:
    """The cause of a request."""
    return Cause(identity.subject, request.address, CLIENT, request.id)


async def before_pull(
    request: Request, services: Services, identity: Identity, repository: RepositoryRef, content: Content, tag: str
) -> list[Basis | None]:
    """Ask the policies of the project whether the content may be served; returns what the response therefore depends
    on. Simultaneous equal requests wait for one verdict. Raises Refused."""
    context = PullContext(cause_of(request, identity), repository, content, tag, is_head=request.method == "HEAD")
    bases = []
    for question in questions(context):
        verdict = question.cached() or await _judged(services, question)
        question.enforce(verdict)
        bases.append(question.basis(verdict))
    return bases


async def _judged(services: Services, question: Question) -> Verdict:
    return await services.judging.do(question.key, partial(threads.run, question.answer), seen=question.seen())


async def is_supplied(services: Services, missing: Missing) -> bool:
    """Whether a provider of the project has stored the missing content, so that it should be looked up again."""
    for provider in policies.providers(missing.project):
        if await _supplied(services, provider, missing):
            return True
    return False


async def _supplied(services: Services, provider: Provider, missing: Missing) -> bool:
    key = provider.name, missing.project.id, missing.name, missing.kind, missing.reference
    # Callers that join look for the content themselves afterwards, so the work need not have begun after any particular
    # change.
    return await services.supplying.do(key, partial(provider.supply, missing), seen=())
