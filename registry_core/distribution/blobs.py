"""Blobs: read (whole or a part) and deleted. OCI distribution-spec 1.1, "Pulling blobs", "Deleting blobs"."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from registry_core import threads
from registry_core.config import get_config
from registry_core.content.blobs import BlobRef, delete_blob
from registry_core.content.errors import BlobUnknown
from registry_core.content.repositories import RepositoryRef
from registry_core.digests import Digest
from registry_core.distribution import known_answers
from registry_core.distribution.cache import Basis
from registry_core.distribution.guards import admit_pull, deletable, readable
from registry_core.distribution.manifests import is_known_to_client
from registry_core.distribution.multipart import multipart
from registry_core.distribution.ranges import Range, RangeNotSatisfiable, parse_ranges
from registry_core.distribution.services import Services
from registry_core.http.messages import FilePart, Header, Relay, Request, Response
from registry_core.storage.filesystem import FilesystemStore
from registry_core.storage.interface import ObjectStore, SignedUrl
from registry_core.storage.stores import store_named

REMEMBERED_PART = 0.25
_REMEMBERED = frozenset({200, 307})


async def get(request: Request, services: Services, name: str, digest_text: str) -> Response:
    """GET and HEAD: the blob, or ranges of it."""
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
    response = await _answer(request, services, blob, headers)
    if response.relay is None and response.status in _REMEMBERED:
        is_it = services.blobs.basis((repository.id, digest), lambda known: known is blob)
        content = [is_it, *_standing_on_its_url(services, blob, response)]
        known_answers.remember(request, services, response, identity=identity, repository=repository, content=content)
    return response


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


async def _answer(request: Request, services: Services, blob: BlobRef, headers: list[Header]) -> Response:
    size, store = blob.size_bytes, store_named(blob.store)
    if request.method == "HEAD":
        return Response(200, [*headers, ("content-length", str(size))])
    where = await _locate(services, store, blob.storage_key)
    if isinstance(where, SignedUrl):
        # The client repeats its Range there.
        return Response(307, [*headers[:2], ("location", where.url), ("content-length", "0")])
    wanted = request.headers.get("range", "")
    try:
        ranges = parse_ranges(wanted, size) if wanted and _is_range_wanted(request, blob) else None
    except RangeNotSatisfiable:
        return Response(416, [*headers[:3], ("content-range", f"bytes */{size}"), ("content-length", "0")])
    if ranges is not None and len(ranges) > 1:
        return await _parts(store, blob, ranges, headers)
    first, last = ranges[0] if ranges else (0, size - 1)
    length = last - first + 1
    headers.append(("content-length", str(length)))
    if ranges is not None:
        headers.append(("content-range", f"bytes {first}-{last}/{size}"))
    response = Response(200 if ranges is None else 206, headers)
    if where is not None:
        response.file = FilePart(where, first, length)
    else:
        chunks = store.read(blob.storage_key, start=first, end=last + 1)
        response.relay = Relay(await threads.run_upload(_begun, chunks), length)
    return response


async def _parts(store: ObjectStore, blob: BlobRef, ranges: list[Range], headers: list[Header]) -> Response:
    """Several ranges: each a part of one body, which passes through us wherever the blob lies."""

    def read(start: int, end: int) -> Iterator[bytes]:
        return store.read(blob.storage_key, start=start, end=end)

    of_parts, relay = multipart(ranges, blob.size_bytes, "application/octet-stream", read)
    chunks = await threads.run_upload(_begun, relay.chunks)
    return Response(206, [*headers[:3], *of_parts], relay=Relay(chunks, relay.length_bytes))


def _standing_on_its_url(services: Services, blob: BlobRef, response: Response) -> list[Basis | None]:
    """Until when a redirect may be remembered: no longer than the URL that it sends to."""
    if response.status != 307:
        return []
    return [services.signed_urls.basis(blob.storage_key, lambda known: ("location", known.url) in response.headers)]


def _begun(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks, the first of which is there: an object that cannot be read is an error before the answer begins."""
    return chain([next(chunks, b"")], chunks)


async def _locate(services: Services, store: ObjectStore, key: str) -> Path | SignedUrl | None:
    """Where a client finds an object by itself. Who may have it was decided before: a signed URL is remembered for a
    part of its life, because signing takes milliseconds in a thread, and many clients pull the same image."""
    if store.name == FilesystemStore.name:
        return store.locate(key)
    known = services.signed_urls.get(key)
    if known is not None:
        return known
    where = await threads.run_plain(store.locate, key)
    if isinstance(where, SignedUrl):
        ttl_s = get_config().s3_redirect_ttl_s * REMEMBERED_PART
        services.signed_urls.put(key, where, seen=(), size_bytes=512 + len(where.url), ttl_s=ttl_s)
    return where


def _is_range_wanted(request: Request, blob: BlobRef) -> bool:
    """RFC 9110 §13.1.5: with `If-Range` only while the client's copy is this one."""
    condition = request.headers.get("if-range", "")
    return request.method == "GET" and (not condition or condition.strip() == f'"{blob.digest}"')
