"""Blobs: read (whole or a part) and deleted. OCI distribution-spec 1.1, "Pulling blobs", "Deleting blobs"."""

from __future__ import annotations

from registry_core import threads
from registry_core.content.blobs import BlobRef, delete_blob
from registry_core.content.errors import BlobUnknown
from registry_core.content.repositories import RepositoryRef
from registry_core.digests import Digest
from registry_core.distribution.guards import admit_pull, deletable, readable
from registry_core.distribution.manifests import is_known_to_client
from registry_core.distribution.ranges import RangeNotSatisfiable, parse_range
from registry_core.distribution.services import Services
from registry_core.http.messages import FilePart, Header, Request, Response
from registry_core.storage.stores import store_named


async def get(request: Request, services: Services, name: str, digest_text: str) -> Response:
    """GET and HEAD: the blob, or one range of it."""
    identity, repository = await readable(request, services, name)
    digest = Digest.parse(digest_text)
    blob = await _load(services, repository, digest)
    await admit_pull(request, services, identity, repository, digest, "")
    headers = [
        ("docker-content-digest", str(digest)),
        ("etag", f'"{digest}"'),
        ("accept-ranges", "bytes"),
        ("content-type", "application/octet-stream"),
    ]
    if is_known_to_client(request, digest):
        return Response(304, headers[:2])
    return _answer(request, blob, headers)


async def delete(request: Request, services: Services, name: str, digest_text: str) -> Response:
    """DELETE: the repository's link to the blob."""
    identity, repository = await deletable(request, services, name)
    digest = Digest.parse(digest_text)
    await threads.run(delete_blob, repository=repository, digest=digest, by=identity.subject, client=request.address)
    return Response(202, [("content-length", "0")])


async def _load(services: Services, repository: RepositoryRef, digest: Digest) -> BlobRef:
    key = (repository.id, digest)
    blob = services.blobs.get(key)
    if blob is None:
        seen = services.blobs.begin([repository.key])
        found = await services.reads.blob(repository.id, digest)
        if found is None:
            raise BlobUnknown(f"{repository.name} has no blob {digest}", {"digest": str(digest)})
        blob, is_aging = found
        if is_aging:
            await services.reads.extend_grace(repository.id, blob.id)
        else:
            services.blobs.put(key, blob, seen=seen, ttl_s=1500)
    return blob


def _answer(request: Request, blob: BlobRef, headers: list[Header]) -> Response:
    size = blob.size_bytes
    path = store_named(blob.store).path(blob.storage_key)
    wanted = request.headers.get("range", "")
    try:
        part = parse_range(wanted, size) if wanted and _is_range_wanted(request, blob) else None
    except RangeNotSatisfiable:
        return Response(416, [*headers[:3], ("content-range", f"bytes */{size}"), ("content-length", "0")])
    if part is None:
        return Response(200, [*headers, ("content-length", str(size))], file=FilePart(path, 0, size))
    first, last = part
    length = last - first + 1
    headers += [("content-range", f"bytes {first}-{last}/{size}"), ("content-length", str(length))]
    return Response(206, headers, file=FilePart(path, first, length))


def _is_range_wanted(request: Request, blob: BlobRef) -> bool:
    """RFC 9110 §13.1.5: with `If-Range` only while the client's copy is this one."""
    condition = request.headers.get("if-range", "")
    return request.method == "GET" and (not condition or condition.strip() == f'"{blob.digest}"')
