"""Whole answers to who pulls a manifest or a blob again: remembered with everything that they were made from.

What the names mean, what somebody may do, which content that is and where it lies are memories of their own, each with
the generations it was read under. An answer stands on all of these at once, so it is served exactly as long as each of
them would be; what it saves is asking them one after the other. Who asks is looked up each time: an answer is for all
whose credentials say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry_core.access import PULL
from registry_core.content.repositories import RepositoryRef
from registry_core.distribution.identity import credentials_key
from registry_core.http.messages import FilePart, Header, Request, Response

if TYPE_CHECKING:
    from registry_core.caching.generation_cache import Basis
    from registry_core.distribution.identity import Identity
    from registry_core.distribution.pulls import Pull
    from registry_core.distribution.services import Services

_METHODS = frozenset({"GET", "HEAD"})
ANSWER_BYTES = 3072  # what an answer takes besides its body and its path


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """An answer, and what is to be counted (None: nothing) and logged of it."""

    status: int
    headers: tuple[Header, ...]
    content: bytes
    file: FilePart | None
    pull: Pull | None
    action: str
    repository: str
    user: str


def recall(method: str, path: str, headers: Mapping[str, str], services: Services) -> KnownAnswer | None:
    """The answer to this request, when it was given before and nothing that it depends on has changed. Then the pull is
    counted."""
    if method not in _METHODS or not ("/manifests/" in path or "/blobs/" in path):
        return None
    if "if-none-match" in headers or "range" in headers:
        return None
    rights = b""
    if authorization := headers.get("authorization", ""):
        identity = services.identities.get(credentials_key(authorization))
        if identity is None:
            return None
        rights = identity.rights
    known = services.answers.get((method, path, rights))
    if known is not None and known.file is not None and not known.file.is_whole_file():
        return None  # who makes the answer anew says what is wrong
    if known is not None and known.pull is not None:
        services.pulls.count(known.pull)
    return known


def remember(
    request: Request,
    services: Services,
    response: Response,
    *,
    identity: Identity,
    repository: RepositoryRef,
    bases: list[Basis | None],
    pull: Pull | None = None,
) -> None:
    """Keep the answer that `request` gets; the same for all who ask so, without `If-None-Match` and `Range`. `bases`:
    what it depends on besides the name and the rights: that this is the content, where it lies, and the verdicts of
    policies; None for what is not cached. `pull`: what is counted each time.

    What it was made from may have changed while it was made. So it stands on what is remembered now, and is kept only
    when that says the same.
    """
    subject = identity.subject
    actions_key = (subject.kind, subject.id, repository.project.id)
    whole = [
        services.names.basis(str(repository.name), lambda located: located.repository == repository),
        services.actions.basis(actions_key, lambda allowed: PULL in allowed),
        *bases,
    ]
    answer = KnownAnswer(
        response.status,
        tuple(response.headers),
        response.body,
        response.file,
        pull,
        request.action,
        request.repository,
        request.user,
    )
    size_bytes = ANSWER_BYTES + len(response.body) + 4 * len(request.path)
    rights = identity.rights if request.headers.get("authorization", "") else b""
    services.answers.put_on((request.method, request.path, rights), answer, whole, size_bytes=size_bytes)
