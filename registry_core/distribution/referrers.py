"""The referrers of a manifest: artifacts with it as their subject. OCI distribution-spec 1.1, "Listing referrers"."""

from __future__ import annotations

import json
from collections.abc import Collection
from urllib.parse import quote, unquote

import msgspec

from registry_core.content.descriptors import presentable
from registry_core.content.parsing import OCI_INDEX
from registry_core.content.repositories import RepositoryRef
from registry_core.digests import Digest, DigestError
from registry_core.distribution.errors import OciError
from registry_core.distribution.guards import readable_project
from registry_core.distribution.reads import Referrer, ReferrersPage
from registry_core.distribution.services import Services
from registry_core.distribution.tags import one
from registry_core.http import threads
from registry_core.http.messages import Header, Request, Response

READ_AT_ONCE_BYTES = 16 << 10
_FILTER = "artifactType"
_Descriptor = dict[str, object]


async def list_referrers(request: Request, services: Services, name: str, digest_text: str) -> Response:
    """GET referrers: an index of the manifests whose subject has the digest; empty for an unknown digest."""
    _, located = await readable_project(request, services, name)
    subject = Digest.parse(digest_text)
    types = _artifact_types(request)
    headers: list[Header] = [("oci-filters-applied", _FILTER)] if types else []
    entries: list[_Descriptor | msgspec.Raw] = []
    if located.repository is not None:
        page = await services.reads.referrers(located.repository.id, subject, artifact_types=types, last=_last(request))
        entries += map(_descriptor, [*page.by_subject, *page.tagged])
        entries += await _kept_by_clients(services, located.repository, subject, page, types)
        if page.has_more:
            headers.append(_next(name, subject, page.by_subject[-1].digest, types))
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return Response(200, [("content-type", OCI_INDEX), *headers], msgspec.json.encode(index))


def _artifact_types(request: Request) -> list[str]:
    """The types to list; empty for all.

    A `+` in a query stands for a blank, but many clients mean the `+` of `application/x+json`: both are looked for.
    """
    stated = request.query().get(_FILTER, [])
    pairs = [pair.partition("=") for pair in request.query_string.split("&")] if stated else []
    literal = [unquote(value, errors="replace") for name, _, value in pairs if unquote(name) == _FILTER]
    types = list(dict.fromkeys(text for text in [*stated, *literal] if text))
    if any("\0" in text for text in types):
        raise OciError(400, "UNSUPPORTED", f"the parameter {_FILTER} has a NUL")
    return types


def _descriptor(referrer: Referrer) -> _Descriptor:
    descriptor: _Descriptor = {
        "mediaType": referrer.media_type,
        "digest": str(referrer.digest),
        "size": referrer.size_bytes,
    }
    if referrer.artifact_type:
        descriptor["artifactType"] = referrer.artifact_type
    if referrer.annotations is not None:
        descriptor["annotations"] = msgspec.Raw(referrer.annotations)
    return descriptor


async def _kept_by_clients(
    services: Services, repository: RepositoryRef, subject: Digest, page: ReferrersPage, types: Collection[str]
) -> list[msgspec.Raw]:
    """The entries of the index under the fallback tag that are not on any page otherwise."""
    kept = {} if page.fallback is None else await _read(page.fallback, types)
    for referrer in page.tagged:
        kept.pop(referrer.digest, None)
    if not kept:
        return []
    listed = await services.reads.listed_referrers(repository.id, subject, list(kept))
    return [entry for digest, entry in kept.items() if digest not in listed]


async def _read(index: bytes, types: Collection[str]) -> dict[Digest, msgspec.Raw]:
    if len(index) <= READ_AT_ONCE_BYTES:
        return _entries(index, types)
    return await threads.run_plain(_entries, index, types)


def _entries(index: bytes, types: Collection[str]) -> dict[Digest, msgspec.Raw]:
    """The descriptors in a stored index, by digest, in presentable form; invalid ones are left out."""
    entries = json.loads(index).get("manifests")
    found = [presentable(entry) for entry in entries] if isinstance(entries, list) else []
    return {
        Digest.parse(entry["digest"]): msgspec.Raw(json.dumps(entry).encode())
        for entry in found
        if entry is not None and (not types or entry.get(_FILTER) in types)
    }


def _next(name: str, subject: Digest, last: Digest, types: Collection[str]) -> Header:
    kinds = "".join(f"&{_FILTER}={quote(text, safe='')}" for text in types)
    return ("link", f'</v2/{name}/referrers/{subject}?last={last}{kinds}>; rel="next"')


def _last(request: Request) -> bytes:
    try:
        text = one(request, "last")
        return Digest.parse(text).raw if text else b""
    except DigestError:
        raise OciError(400, "UNSUPPORTED", "last is the digest that the page before ended with") from None
