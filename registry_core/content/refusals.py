"""Refusals of policies as events: the first of each kind is recorded within seconds, later ones as totals.

They are counted where they happen, which may be on the event loop or in a transaction that will be rolled back, and
written later.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import msgspec

from registry_core.access import SYSTEM, Cause, of_many, subject_with_key
from registry_core.content.events import PolicyRefused
from registry_core.content.policy_contexts import (
    Context,
    CopyContext,
    DeletePlan,
    MountContext,
    PullContext,
    PutContext,
    TagContext,
    UploadContext,
)
from registry_core.events.outbox import emit
from registry_core.events.repeated import PLACES_MAX, Place, Repeated


@dataclass(frozen=True, slots=True)
class _Refusal:
    """The last of the refusals that are recorded together."""

    cause: Cause
    project_id: int
    repository_id: int | None
    event: PolicyRefused


KEPT_MAX: Final = 4 * PLACES_MAX
_last: OrderedDict[Place, _Refusal] = OrderedDict()
_lock = threading.Lock()


def note(policy: str, context: Context) -> None:
    """Count a refusal by the policy; does not block."""
    refusal = _refusal(policy, context)
    digest_or_tag = refusal.event.tag or refusal.event.digest
    place = Place(
        _origin(context.cause),
        f"{policy} {context.moment} {refusal.project_id} {refusal.repository_id} {digest_or_tag}",
    )
    with _lock:
        _last[place] = refusal
        _last.move_to_end(place)
        if len(_last) > KEPT_MAX:
            _last.popitem(last=False)
    _refusals.count(origin=place.origin, name=place.name)


def flush() -> None:
    """Write the counted refusals. Raises DatabaseError; then they stay counted."""
    _refusals.flush()


def _write(place: Place, times: int) -> None:
    with _lock:
        last = _last.get(place)
    if last is None:  # a total over different content
        emit(PolicyRefused(name=place.name or "many things", times=times), cause=_cause(place.origin))
        return
    emit(
        msgspec.structs.replace(last.event, times=times),
        cause=last.cause,
        project_id=last.project_id,
        repository_id=last.repository_id,
    )


_refusals: Final = Repeated(_write)


def _refusal(policy: str, context: Context) -> _Refusal:
    cause, repository = context.cause, context.repository
    plain = PolicyRefused(policy=policy, moment=str(context.moment), reason=cause.reason)
    event = msgspec.structs.replace(plain, **_named(context))
    return _Refusal(cause, context.project.id, repository.id if repository else None, event)


def _named(context: Context) -> dict[str, str]:
    """What was to be served or changed: its digest, and its tag."""
    match context:
        case PullContext(content=content, tag=tag) | TagContext(content=content, tag=tag):
            found = {"digest": str(content.digest), "tag": tag}
        case PutContext(content=content, tags=tags) | CopyContext(content=content, tags=tags):
            found = {"digest": str(content.digest), "tag": tags[0] if tags else ""}
        case MountContext(content=content):
            found = {"digest": str(content.digest)}
        case UploadContext(digest=digest):
            found = {"digest": str(digest or "")}
        case DeletePlan():
            found = _planned(context)
        case _:
            found = {}
    return {name: value for name, value in found.items() if value}


def _planned(plan: DeletePlan) -> dict[str, str]:
    """The name of a tag; the digest of an artifact or a blob."""
    if plan.whole == "tag":
        return {"tag": next(iter(plan.tags))}
    named = (digest for number, digest in plan.artifacts.items() if number not in plan.accessories)
    digest = plan.blob if plan.whole == "blob" else next(named, None) if plan.whole == "artifact" else None
    return {"digest": str(digest or "")}


def _origin(cause: Cause) -> str:
    """The unit of counting: each subject, and each address of clients without authentication."""
    return f"{cause.subject.key} {cause.client}" if cause.subject.is_anonymous else cause.subject.key


def _cause(origin: str) -> Cause:
    """The cause of many refusals: of one subject, or (an empty origin) of several."""
    subject, _, client = origin.partition(" ")
    return of_many(subject_with_key(subject) if subject else SYSTEM, client)
