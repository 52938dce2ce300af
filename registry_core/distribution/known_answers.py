"""Cached responses for repeated pulls of a manifest or a blob, with everything that they depend on.

What a name means, the subject's actions, the content and its location are cached separately, each with the generations
it was read under. A cached response depends on all of these at once, so it is served exactly as long as each of them is
valid; it saves looking them up one after the other. The caller is authenticated each time: a response is shared by all
callers whose credentials grant the same.
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
ANSWER_BYTES = 3072  # the size of an entry besides its body and its path


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """A response, and what is to be counted (None: nothing) and logged for it."""

    status: int
    headers: tuple[Header, ...]
    content: bytes
    file: FilePart | None
    pull: Pull | None
    action: str
    repository: str
    user: str


def recall(method: str, path: str, headers: Mapping[str, str], services: Services) -> KnownAnswer | None:
    """The cached response to this request, if nothing that it depends on has changed. Counts the pull."""
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
        return None  # the handler reports what is wrong
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
    """Cache the response to `request`, for all equal requests without `If-None-Match` and `Range`. `bases`: what it
    depends on besides the name and the permissions: the content, its location, and the verdicts of policies; None for
    what cannot be cached. `pull`: what is counted each time.

    The inputs may have changed while the response was made. So the entry depends on the cached inputs as of now, and is
    stored only if they are the same.
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
