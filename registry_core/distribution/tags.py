"""The tags of a repository and the referrers of a manifest, by pages. OCI distribution-spec 1.1, "Content
discovery"."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from registry_core.content.parsing import OCI_INDEX
from registry_core.digests import Digest, DigestError
from registry_core.distribution.errors import OciError
from registry_core.distribution.guards import readable, readable_project
from registry_core.distribution.reads import Referrer
from registry_core.distribution.services import Services
from registry_core.http.messages import Header, Request, Response, json_response

PAGE_MAX = 1000
REFERRERS_PAGE = 500


async def list_tags(request: Request, services: Services, name: str) -> Response:
    """GET tags/list: names in byte order, `n` at a time."""
    _, repository = await readable(request, services, name)
    limit = page_size(request)
    last = _one(request, "last")
    found = await services.reads.tags(repository.id, last=last, limit=limit + 1) if limit else []
    tags = found[:limit]
    headers = next_link(f"/v2/{name}/tags/list", tags[-1], limit) if len(found) > limit else []
    return json_response(200, {"name": name, "tags": tags}, headers)


async def list_referrers(request: Request, services: Services, name: str, digest_text: str) -> Response:
    """GET referrers: an index of the manifests whose subject has the digest; empty for one that nobody ever heard
    of."""
    _, located = await readable_project(request, services, name)
    subject = Digest.parse(digest_text)
    artifact_type = _one(request, "artifactType") or None
    found = (
        await services.reads.referrers(
            located.repository.id, subject, artifact_type=artifact_type, last=_last(request), limit=REFERRERS_PAGE + 1
        )
        if located.repository
        else []
    )
    page = found[:REFERRERS_PAGE]
    headers: list[Header] = [("oci-filters-applied", "artifactType")] if artifact_type else []
    if len(found) > REFERRERS_PAGE:
        filters = f"&artifactType={quote(artifact_type)}" if artifact_type else ""
        url = f"/v2/{name}/referrers/{subject}?last={page[-1].digest}{filters}"
        headers.append(("link", f'<{url}>; rel="next"'))
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [_descriptor(referrer) for referrer in page]}
    return Response(200, [("content-type", OCI_INDEX), *headers], msgspec.json.encode(index))


def page_size(request: Request) -> int:
    """The `n` asked for, clamped; without it the most that a page has."""
    text = _one(request, "n")
    if not text:
        return PAGE_MAX
    if not (text.isascii() and text.isdigit()):
        raise OciError(400, "PAGINATION_NUMBER_INVALID", "n is a number of entries, 0 or more")
    return min(int(text[:9]), PAGE_MAX)


def next_link(path: str, last: str, limit: int) -> list[Header]:
    """The `Link` header to the page after `last`."""
    return [("link", f'<{path}?last={quote(last, safe="")}&n={limit}>; rel="next"')]


def _one(request: Request, name: str) -> str:
    value = request.query().get(name, [""])[0]
    if "\0" in value:
        raise OciError(400, "UNSUPPORTED", f"the parameter {name} has a NUL")
    return value


def _last(request: Request) -> bytes:
    try:
        text = _one(request, "last")
        return Digest.parse(text).raw if text else b""
    except DigestError:
        raise OciError(400, "UNSUPPORTED", "last is the digest that the page before ended with") from None


def _descriptor(referrer: Referrer) -> dict[str, object]:
    descriptor: dict[str, object] = {
        "mediaType": referrer.media_type,
        "digest": str(referrer.digest),
        "size": referrer.size_bytes,
    }
    if referrer.artifact_type:
        descriptor["artifactType"] = referrer.artifact_type
    if referrer.annotations is not None:
        descriptor["annotations"] = msgspec.Raw(referrer.annotations)
    return descriptor
