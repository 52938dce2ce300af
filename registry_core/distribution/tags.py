"""The tags of a repository, by page. OCI distribution-spec 1.1, "Listing tags"."""

from __future__ import annotations

from urllib.parse import quote

from registry_core.distribution.errors import OciError
from registry_core.distribution.guards import readable
from registry_core.distribution.services import Services
from registry_core.http.messages import Header, Request, Response, json_response

PAGE_MAX = 10_000
"""Names on a page if the client does not say how many. Some clients do not request a second page."""


async def list_tags(request: Request, services: Services, name: str) -> Response:
    """GET tags/list: names in byte order, `n` at a time."""
    _, repository = await readable(request, services, name)
    limit = page_size(request)
    last = one(request, "last")
    found = await services.reads.tags(repository.id, last=last, limit=limit + 1) if limit else []
    tags = found[:limit]
    headers = next_link(f"/v2/{name}/tags/list", tags[-1], limit) if len(found) > limit else []
    return json_response(200, {"name": name, "tags": tags}, headers)


def page_size(request: Request) -> int:
    """The requested `n`, clamped; without it the largest page."""
    text = one(request, "n")
    if not text:
        return PAGE_MAX
    if not (text.isascii() and text.isdigit()):
        raise OciError(400, "PAGINATION_NUMBER_INVALID", "n is a number of entries, 0 or more")
    return min(int(text[:9]), PAGE_MAX)


def next_link(path: str, last: str, limit: int) -> list[Header]:
    """The `Link` header to the page after `last`."""
    return [("link", f'<{path}?last={quote(last, safe="")}&n={limit}>; rel="next"')]


def one(request: Request, name: str) -> str:
    """The first value of a query parameter; empty if it is missing."""
    value = request.query().get(name, [""])[0]
    if "\0" in value:
        raise OciError(400, "UNSUPPORTED", f"the parameter {name} has a NUL")
    return value
