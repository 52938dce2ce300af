"""Blobs: read (whole or a part) and deleted. OCI distribution-spec 1.1, "Pulling blobs", "Deleting blobs"."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from registry_core import threads
from registry_core.content.blobs import BlobRef, delete_blob
from registry_core.content.errors import BlobUnknown
from registry_core.content.repositories import RepositoryRef
from registry_core.digests import Digest
from registry_core.distribution.guards import admit_pull, deletable, readable
from registry_core.distribution.manifests import is_known_to_client
from registry_core.distribution.ranges import RangeNotSatisfiable, parse_range
from registry_core.distribution.services import Services
from registry_core.http.messages import FilePart, Header, Relay, Request, Response
from registry_core.storage.filesystem import FilesystemStore
from registry_core.storage.interface import ObjectStore, SignedUrl
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
    return await _answer(request, blob, headers)


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


async def _answer(request: Request, blob: BlobRef, headers: list[Header]) -> Response:
    size, store = blob.size_bytes, store_named(blob.store)
    if request.method == "HEAD":
        return Response(200, [*headers, ("content-length", str(size))])
    where = await _locate(store, blob.storage_key)
    if isinstance(where, SignedUrl):
        # The client repeats its Range there.
        return Response(307, [*headers[:2], ("location", where.url), ("content-length", "0")])
    wanted = request.headers.get("range", "")
    try:
        part = parse_range(wanted, size) if wanted and _is_range_wanted(request, blob) else None
    except RangeNotSatisfiable:
        return Response(416, [*headers[:3], ("content-range", f"bytes */{size}"), ("content-length", "0")])
    first, last = part or (0, size - 1)
    length = last - first + 1
    headers.append(("content-length", str(length)))
    if part is not None:
        headers.append(("content-range", f"bytes {first}-{last}/{size}"))
    response = Response(200 if part is None else 206, headers)
    if where is not None:
        response.file = FilePart(where, first, length)
    else:
        chunks = store.read(blob.storage_key, start=first, end=last + 1)
        response.relay = Relay(await threads.run_upload(_begun, chunks), length)
    return response


def _begun(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks, the first of which is there: an object that cannot be read is an error before the answer begins."""
    return chain([next(chunks, b"")], chunks)


async def _locate(store: ObjectStore, key: str) -> Path | SignedUrl | None:
    # Signing takes longer than a path does, and may have to fetch fresh credentials.
    return store.locate(key) if store.name == FilesystemStore.name else await threads.run_plain(store.locate, key)


def _is_range_wanted(request: Request, blob: BlobRef) -> bool:
    """RFC 9110 §13.1.5: with `If-Range` only while the client's copy is this one."""
    condition = request.headers.get("if-range", "")
    return request.method == "GET" and (not condition or condition.strip() == f'"{blob.digest}"')
