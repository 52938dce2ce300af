"""The referrers of a manifest: what was pushed about it. OCI distribution-spec 1.1, "Listing referrers"."""

from __future__ import annotations

import json
from urllib.parse import quote

import msgspec

from registry_core.content.parsing import OCI_INDEX
from registry_core.digests import Digest, DigestError
from registry_core.distribution.errors import OciError
from registry_core.distribution.guards import readable_project
from registry_core.distribution.reads import Referrer
from registry_core.distribution.services import Services
from registry_core.distribution.tags import one
from registry_core.http.messages import Header, Request, Response

PAGE = 500
_Descriptor = dict[str, object]


async def list_referrers(request: Request, services: Services, name: str, digest_text: str) -> Response:
    """GET referrers: an index of the manifests whose subject has the digest; empty for one that nobody ever heard
    of."""
    _, located = await readable_project(request, services, name)
    subject = Digest.parse(digest_text)
    artifact_type = one(request, "artifactType") or None
    found: list[Referrer] = []
    fallback: bytes | None = None
    if located.repository is not None:
        found, fallback = await services.reads.referrers(
            located.repository.id, subject, artifact_type=artifact_type, last=_last(request), limit=PAGE + 1
        )
    headers: list[Header] = [("oci-filters-applied", "artifactType")] if artifact_type else []
    if len(found) > PAGE:
        headers.append(_next(name, subject, found[PAGE - 1].digest, artifact_type))
    entries = [_descriptor(referrer) for referrer in found[:PAGE]]
    if fallback is not None and located.repository is not None:
        kept = _kept_by_clients(fallback, artifact_type)
        listed = await services.reads.listed_referrers(located.repository.id, subject, list(kept))
        entries += [entry for digest, entry in kept.items() if digest not in listed]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return Response(200, [("content-type", OCI_INDEX), *headers], msgspec.json.encode(index))


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


def _kept_by_clients(fallback: bytes, artifact_type: str | None) -> dict[Digest, _Descriptor]:
    """The entries of the index under the fallback tag, by their digests."""
    entries = json.loads(fallback).get("manifests") or []
    return {
        Digest.parse(entry["digest"]): entry for entry in entries if artifact_type in {None, entry.get("artifactType")}
    }


def _next(name: str, subject: Digest, last: Digest, artifact_type: str | None) -> Header:
    kind = f"&artifactType={quote(artifact_type, safe='')}" if artifact_type else ""
    return ("link", f'</v2/{name}/referrers/{subject}?last={last}{kind}>; rel="next"')


def _last(request: Request) -> bytes:
    try:
        text = one(request, "last")
        return Digest.parse(text).raw if text else b""
    except DigestError:
        raise OciError(400, "UNSUPPORTED", "last is the digest that the page before ended with") from None
