"""The policies that the benchmark measures: one about pulls, which asks the database, and one about tags."""

from __future__ import annotations

import re
from typing import Final

from registry_core.content.errors import Refused
from registry_core.content.models import Artifact
from registry_core.content.policies import Policies, Policy
from registry_core.content.policy_contexts import Context, Moment, PullContext, TagContext
from tests.benchmarks.policy_names import PULLS, TAGS

_TAG: Final = re.compile(r"[a-z0-9.-]+")


def register(policies: Policies) -> None:
    """What the entry point names."""
    policies.register(_Pulls())
    policies.register(_Tags())


class _Pulls(Policy):
    """Lets artifacts be pulled that have a type which nobody has forbidden: one query for each verdict."""

    name = PULLS
    moments = frozenset({Moment.PULL})

    def check(self, context: Context) -> None:
        assert isinstance(context, PullContext)
        if Artifact.objects.filter(
            pk=context.content.artifact_id or 0, artifact_type="application/x-forbidden"
        ).exists():
            raise Refused("artifacts of this type may not be pulled")


class _Tags(Policy):
    """Lets tags be made that are written in small letters."""

    name = TAGS
    moments = frozenset({Moment.TAG})

    def check(self, context: Context) -> None:
        assert isinstance(context, TagContext)
        if _TAG.fullmatch(context.tag) is None:
            raise Refused("a tag is written in small letters here")
