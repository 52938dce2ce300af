"""Whole answers to who pulls a manifest again: remembered with everything that they were made from.

Who asks, what the names mean, what he may do and which manifest that is are memories of their own, each with the
generations it was read under. An answer stands on all of these at once, so it is served exactly as long as each of
them would be; what it saves is asking them one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry_core.access import PULL, Subject
from registry_core.content.repositories import RepositoryRef
from registry_core.distribution.hooks import hooks
from registry_core.distribution.identity import credentials_key
from registry_core.distribution.reads import StoredManifest
from registry_core.http.messages import Header, Request

if TYPE_CHECKING:
    from registry_core.distribution.identity import Identity
    from registry_core.distribution.services import Services

ACTIONS = {"GET": "pull", "HEAD": "head"}
"""What the access log calls the methods of which answers are remembered."""
_OVERHEAD_BYTES = 2048


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """An answer with 200, and what is to be counted and logged of it."""

    headers: tuple[Header, ...]
    content: bytes
    artifact_id: int
    tag: str
    subject: Subject
    repository: str
    user: str


def recall(method: str, path: str, headers: Mapping[str, str], services: Services) -> KnownAnswer | None:
    """The answer to this request, when it was given before and nothing that it depends on has changed. Then the pull is
    counted."""
    action = ACTIONS.get(method) if "/manifests/" in path else None
    if action is None or hooks.pull or "if-none-match" in headers:
        return None
    known = services.answers.get((method, path, credentials_key(headers.get("authorization", ""))))
    if known is not None and action == "pull":
        services.pulls.count(known.artifact_id, known.tag, known.subject)
    return known


def remember(
    request: Request,
    services: Services,
    *,
    identity: Identity,
    repository: RepositoryRef,
    manifest: StoredManifest,
    wanted: object,
    headers: list[Header],
) -> None:
    """Keep the answer that `request` gets. `wanted`: the tag or the digest that it named.

    What it was made from may have changed while it was made. So it stands on what is remembered now, and is kept only
    when that says the same.
    """
    if hooks.pull:
        return  # they decide each time
    subject = identity.subject
    actions_key = (subject.kind, subject.id, repository.project.id)
    bases = [
        services.names.basis(str(repository.name), lambda located: located.repository == repository),
        services.actions.basis(actions_key, lambda allowed: PULL in allowed),
        services.manifests.basis((repository.id, wanted), lambda known: known is manifest),
    ]
    if "authorization" in request.headers:
        bases.append(services.identities.basis(_credentials(request), lambda known: known == identity))
    tag = wanted if isinstance(wanted, str) else ""
    answer = KnownAnswer(
        tuple(headers), manifest.content, manifest.artifact_id, tag, subject, request.repository, request.user
    )
    size_bytes = _OVERHEAD_BYTES + len(manifest.content) + 4 * len(request.path)
    key = (request.method, request.path, _credentials(request))
    services.answers.put_on(key, answer, bases, size_bytes=size_bytes)


def _credentials(request: Request) -> bytes:
    return credentials_key(request.headers.get("authorization", ""))
