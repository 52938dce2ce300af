"""Whole answers for repeated pulls of a manifest or a blob, cached with everything that they were made from.

What a name refers to, what a subject may do, which content that is and where it lies have caches of their own, each
with the generations it was read under. An answer depends on all of these, so it is served exactly as long as each of
them would be; what it saves is asking them one after the other. The caller is looked up each time: an answer is for all
whose credentials grant the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry_core.access import PULL
from registry_core.caching.cache import Basis, Cache
from registry_core.content.repositories import RepositoryRef
from registry_core.distribution.guards import action_cache, name_cache
from registry_core.distribution.identity import credentials_key, identity_cache
from registry_core.http.messages import FilePart, Header, Request, Response

if TYPE_CHECKING:
    from registry_core.distribution.identity import Identity
    from registry_core.distribution.pulls import Pull
    from registry_core.distribution.services import Services

_METHODS = frozenset({"GET", "HEAD"})
ANSWER_BYTES = 3072  # what an answer takes besides its body and its path


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """An answer, and what to count (None: nothing) and log for it."""

    status: int
    headers: tuple[Header, ...]
    content: bytes
    file: FilePart | None
    pull: Pull | None
    action: str
    repository: str
    user: str


answer_cache: Cache[CachedAnswer] = Cache("answers", share=1 / 4)


def get(method: str, path: str, headers: Mapping[str, str], services: Services) -> CachedAnswer | None:
    """The answer to this request, if it was given before and nothing that it depends on has changed. Then the pull is
    counted."""
    if method not in _METHODS or not ("/manifests/" in path or "/blobs/" in path):
        return None
    if "if-none-match" in headers or "range" in headers:
        return None
    rights = b""
    if authorization := headers.get("authorization", ""):
        identity = identity_cache.get(credentials_key(authorization))
        if identity is None:
            return None
        rights = identity.rights
    answer = answer_cache.get((method, path, rights))
    if answer is not None and answer.file is not None and not answer.file.is_whole_file():
        return None  # making the answer anew finds out what is wrong
    if answer is not None and answer.pull is not None:
        services.pulls.count(answer.pull)
    return answer


def put(
    request: Request,
    response: Response,
    *,
    identity: Identity,
    repository: RepositoryRef,
    bases: list[Basis | None],
    pull: Pull | None = None,
) -> None:
    """Cache the answer that `request` gets: the same for all who ask so, without `If-None-Match` and `Range`.

    `bases`: what it depends on besides the name and the rights, that is: which content it is, where that lies, and the
    verdicts of policies; None for what is not cached. `pull`: what is counted each time.

    What it was made from may have changed meanwhile. So it depends on what is cached now, and is cached only if that is
    what it was made from.
    """
    subject = identity.subject
    actions_key = (subject.kind, subject.id, repository.project.id)
    whole = [
        name_cache.basis(str(repository.name), lambda located: located.repository == repository),
        action_cache.basis(actions_key, lambda allowed: PULL in allowed),
        *bases,
    ]
    answer = CachedAnswer(
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
    answer_cache.put_composite((request.method, request.path, rights), answer, whole, size_bytes=size_bytes)
