"""The base of the API, and the catalog of repositories."""

from __future__ import annotations

from registry_core.access import Subject
from registry_core.caching.cache import Cache
from registry_core.content.repositories import CATALOG_KEY
from registry_core.distribution.errors import OciError, unauthorized
from registry_core.distribution.identity import identify
from registry_core.distribution.rights import may_list_catalog, pullable_projects
from registry_core.distribution.services import Services
from registry_core.distribution.tags import next_link, page_size
from registry_core.http import threads
from registry_core.http.messages import Request, Response, json_response

SCOPE = "registry:catalog:*"
REFUSED = "unauthorized to list catalog"  # Harbor's words, which clients look for
CATALOG_CACHED_S = 1.0
_catalog_cache: Cache[list[str]] = Cache("catalogs", share=1 / 32)


async def base(request: Request, services: Services) -> Response:
    """GET /v2/: whether this is a registry and the caller is authenticated. OCI distribution-spec 1.1 end-1."""
    identity = await identify(request, services)
    if identity.subject.is_anonymous and identity.claims is None:
        raise unauthorized(request, "authentication required: log in first")
    return json_response(200, {})


async def list_repositories(request: Request, services: Services) -> Response:
    """GET /v2/_catalog: the repositories that the caller may pull from, in byte order of their full names."""
    identity = await identify(request, services)
    if identity.claims is None and identity.subject.is_anonymous:
        raise unauthorized(request, f"{REFUSED}: authentication required: log in first", scope=SCOPE)
    if identity.claims is not None and not identity.claims.may(type="registry", name="catalog", action="*"):
        raise _refused(request)
    limit = page_size(request)
    last = request.query().get("last", [""])[0].replace("\0", "")
    found = await _names(request, services, identity.subject, last, limit + 1) if limit else []
    page = found[:limit]
    headers = next_link("/v2/_catalog", page[-1], limit) if len(found) > limit else []
    return json_response(200, {"repositories": page}, headers)


async def _names(request: Request, services: Services, subject: Subject, last: str, limit: int) -> list[str]:
    """The names after `last`, cached. A repository that another machine created appears up to a second later."""

    async def read() -> list[str]:
        projects = await threads.run(_listable, request, subject)
        return await services.reads.catalog(projects, last=last, limit=limit)

    return await _catalog_cache.aread_through(
        (subject.kind, subject.id, last, limit),
        read,
        depends_on=[subject.key, CATALOG_KEY],
        size_bytes=lambda found: 4 * len(last) + sum(map(len, found)) + 64 * len(found),
        ttl_s=CATALOG_CACHED_S,
    )


def _listable(request: Request, subject: Subject) -> list[int] | None:
    """The projects whose repositories the subject may list; None: all. Raises OciError if it may not list any."""
    if not may_list_catalog(subject):
        raise _refused(request)
    return pullable_projects(subject)


def _refused(request: Request) -> OciError:
    message = f"{REFUSED}: only administrators, and robots with the permission, may read it"
    return unauthorized(request, message, scope=SCOPE, reason="insufficient_scope", code="DENIED")
