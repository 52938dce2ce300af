"""The base of the API and the catalog of repositories."""

from __future__ import annotations

from registry_core import threads
from registry_core.access import authority
from registry_core.distribution.errors import unauthorized
from registry_core.distribution.identity import identify
from registry_core.distribution.services import Services
from registry_core.distribution.tags import next_link, page_size
from registry_core.http.messages import Request, Response, json_response

SCOPE = "registry:catalog:*"


async def base(request: Request, services: Services) -> Response:
    """GET /v2/: whether this is a registry and the caller is known to it. OCI distribution-spec 1.1 end-1."""
    identity = await identify(request, services)
    if identity.subject.is_anonymous and identity.claims is None:
        raise unauthorized(request, "authentication required: log in first")
    return json_response(200, {})


async def list_repositories(request: Request, services: Services) -> Response:
    """GET /v2/_catalog: the repositories that the caller may pull from, in byte order of their full names."""
    identity = await identify(request, services)
    if identity.claims is None and identity.subject.is_anonymous:
        raise unauthorized(request, "authentication required: log in first", scope=SCOPE)
    is_granted = identity.claims is None or identity.claims.may(type="registry", name="catalog", action="*")
    if not is_granted or not await threads.run(authority().may_list_catalog, identity.subject):
        raise unauthorized(
            request, "you may not list the catalog", scope=SCOPE, reason="insufficient_scope", code="DENIED"
        )
    projects = await threads.run(authority().pullable_projects, identity.subject)
    limit = page_size(request)
    last = request.query().get("last", [""])[0].replace("\0", "")
    found = await services.reads.catalog(projects, last=last, limit=limit + 1) if limit else []
    page = found[:limit]
    headers = next_link("/v2/_catalog", page[-1], limit) if len(found) > limit else []
    return json_response(200, {"repositories": page}, headers)
