"""The base of the API, and the catalog of repositories."""

from __future__ import annotations

from registry_core.access import Subject, authority
from registry_core.content.repositories import CATALOG_KEY
from registry_core.distribution.errors import OciError, unauthorized
from registry_core.distribution.identity import identify
from registry_core.distribution.reads import Reach
from registry_core.distribution.services import Services
from registry_core.distribution.tags import next_link, page_size
from registry_core.http import threads
from registry_core.http.messages import Request, Response, json_response

SCOPE = "registry:catalog:*"
REFUSED = "unauthorized to list catalog"  # Harbor's words, which clients look for
REMEMBERED_S = 1.0


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
    found = await _remembered(request, services, identity.subject, last, limit + 1) if limit else []
    page = found[:limit]
    headers = next_link("/v2/_catalog", page[-1], limit) if len(found) > limit else []
    return json_response(200, {"repositories": page}, headers)


async def _remembered(request: Request, services: Services, subject: Subject, last: str, limit: int) -> list[str]:
    """The names after `last`, cached. A repository that another machine created appears up to a second later."""
    key = (subject.kind, subject.id, last, limit)
    found = services.catalogs.get(key)
    if found is None:
        seen = services.catalogs.begin([subject.key, CATALOG_KEY])
        reach = await _reach(request, services, subject)
        found = await services.reads.catalog(reach.projects, last=last, limit=limit)
        size_bytes = len(last) + sum(map(len, found)) + 64 * len(found)
        services.catalogs.put(key, found, seen=seen, size_bytes=size_bytes, ttl_s=REMEMBERED_S)
    return found


async def _reach(request: Request, services: Services, subject: Subject) -> Reach:
    """The projects whose repositories the subject may list. Raises OciError if it may not list any."""
    key = (subject.kind, subject.id)
    reach = services.reaches.get(key)
    if reach is None:
        seen = services.reaches.begin([subject.key, CATALOG_KEY])
        reach = await threads.run(_looked_up, subject)
        if reach is None:
            raise _refused(request)
        size_bytes = 32 * len(reach.projects or ())
        services.reaches.put(key, reach, seen=seen, size_bytes=size_bytes, ttl_s=REMEMBERED_S)
    return reach


def _looked_up(subject: Subject) -> Reach | None:
    if not authority().may_list_catalog(subject):
        return None
    return Reach(authority().pullable_projects(subject))


def _refused(request: Request) -> OciError:
    message = f"{REFUSED}: only administrators, and robots with the permission, may read it"
    return unauthorized(request, message, scope=SCOPE, reason="insufficient_scope", code="DENIED")
