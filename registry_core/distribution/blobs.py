"""Blobs: read (in whole or in part) and deleted. OCI distribution-spec 1.1, "Pulling blobs", "Deleting blobs"."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import structlog

from registry_core.caching.cache import Basis, Cache
from registry_core.config import get_config
from registry_core.content.blobs import BlobRef, delete_blob
from registry_core.content.errors import BlobUnknown
from registry_core.content.policies import Missing, policies
from registry_core.content.policy_contexts import blob_content
from registry_core.content.repositories import RepositoryRef
from registry_core.digests import Digest
from registry_core.distribution import cached_answers
from registry_core.distribution.guards import deletable, existing, readable_project
from registry_core.distribution.identity import Identity
from registry_core.distribution.manifests import is_known_to_client
from registry_core.distribution.multipart import multipart
from registry_core.distribution.pull_policies import before_pull, cause_of, is_supplied
from registry_core.distribution.ranges import Range, RangeNotSatisfiable, parse_ranges
from registry_core.distribution.services import Services
from registry_core.http import threads
from registry_core.http.messages import FilePart, Header, Relay, Request, Response
from registry_core.storage.filesystem import FilesystemStore
from registry_core.storage.interface import ObjectMissing, ObjectStore, SignedUrl, StorageError
from registry_core.storage.stores import store_named

URL_CACHED_PART = 0.25
"""The part of its life for which a signed URL is cached."""
_CACHED = frozenset({200, 307})
_blob_cache: Cache[BlobRef] = Cache("blobs", share=1 / 8)
_url_cache: Cache[SignedUrl] = Cache("signed urls", share=1 / 16)
_log = structlog.get_logger(__name__)


async def get(request: Request, services: Services, name: str, digest_text: str) -> Response:
    """GET and HEAD: the blob, or ranges of it."""
    identity, located = await readable_project(request, services, name)
    digest = Digest.parse(digest_text)
    repository = await existing(request, services, identity, located, "blob", digest)
    blob = await _load(request, services, identity, repository, digest)
    asked_about = blob_content(digest, blob.size_bytes)
    verdicts = await before_pull(request, services, identity, repository, asked_about, "")
    headers = [
        ("docker-content-digest", str(digest)),
        ("etag", f'"{digest}"'),
        ("accept-ranges", "bytes"),
        ("content-type", "application/octet-stream"),
    ]
    if is_known_to_client(request, digest):
        return Response(304, headers[:2])
    try:
        response = await _answer(request, blob, headers)
    except ObjectMissing as error:
        raise _lost(request, blob, error) from error
    if response.relay is None and response.status in _CACHED:
        is_it = _blob_cache.basis((repository.id, digest), lambda cached: cached is blob)
        bases = [is_it, *verdicts, *_basis_of_url(blob, response)]
        cached_answers.put(request, response, identity=identity, repository=repository, bases=bases)
    return response


async def delete(request: Request, services: Services, name: str, digest_text: str) -> Response:
    """DELETE: remove the repository's link to the blob."""
    identity, repository = await deletable(request, services, name)
    digest = Digest.parse(digest_text)
    await threads.run(delete_blob, repository=repository, digest=digest, cause=cause_of(request, identity))
    return Response(202, [("content-length", "0")])


async def _load(
    request: Request, services: Services, identity: Identity, repository: RepositoryRef, digest: Digest
) -> BlobRef:
    """The blob, possibly fetched by a provider of the project. Raises BlobUnknown."""
    blob = await _find(services, repository, digest)
    if blob is None and policies.providers(repository.project):
        cause, project = cause_of(request, identity), repository.project
        if await is_supplied(services, Missing(cause, project, repository.name, repository, "blob", digest)):
            blob = await _find(services, repository, digest)
    if blob is None:
        raise BlobUnknown(f"{repository.name} has no blob {digest}", {"digest": str(digest)})
    return blob


async def _find(services: Services, repository: RepositoryRef, digest: Digest) -> BlobRef | None:
    key = (repository.id, digest)
    blob = _blob_cache.get(key)
    if blob is None:
        # Whether to cache it, the row says beside the blob: so not by `aread_through`.
        seen = _blob_cache.begin([repository.key])
        found = await services.reads.blob(repository.id, digest)
        if found is None:
            return None
        blob, is_aging = found
        if is_aging:
            if not await services.reads.extend_grace(repository.id, blob.id):
                return None
        else:
            _blob_cache.put(key, blob, seen=seen, ttl_s=1500)
    return blob


def _lost(request: Request, blob: BlobRef, error: ObjectMissing) -> BlobUnknown:
    """404 and not 503: clients then push the blob again, which heals it."""
    _log.error(
        "a blob's object is lost: `portolan storage check --repair` looks for it, and pushing the blob again heals it",
        request_id=request.id,
        repository=request.repository,
        digest=str(blob.digest),
        store=blob.store,
        key=blob.storage_key,
        reason=str(error),
    )
    return BlobUnknown(
        f"the registry has lost the content of {blob.digest}: push it again to heal it", {"digest": str(blob.digest)}
    )


async def _answer(request: Request, blob: BlobRef, headers: list[Header]) -> Response:
    """The response for a blob whose object exists. HEAD checks the object as GET does. Raises ObjectMissing."""
    size, store = blob.size_bytes, store_named(blob.store)
    where = await _locate(store, blob)
    if request.method == "HEAD":
        file = FilePart(where, 0, size) if isinstance(where, Path) else None
        return Response(200, [*headers, ("content-length", str(size))], file=file)
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
        response.relay = Relay(await threads.run_store(_begun, chunks), length)
    return response


async def _parts(store: ObjectStore, blob: BlobRef, ranges: list[Range], headers: list[Header]) -> Response:
    """Several ranges: one multipart body, which is relayed wherever the blob is stored."""

    def read(start: int, end: int) -> Iterator[bytes]:
        return store.read(blob.storage_key, start=start, end=end)

    of_parts, relay = multipart(ranges, blob.size_bytes, "application/octet-stream", read)
    chunks = await threads.run_upload(_begun, relay.chunks)
    return Response(206, [*headers[:3], *of_parts], relay=Relay(chunks, relay.length_bytes))


def _basis_of_url(blob: BlobRef, response: Response) -> list[Basis | None]:
    """Until when a response without a file may be cached: until its redirect URL expires (for HEAD, the URL of the
    corresponding GET). Relayed responses have no URL and are not cached."""
    if response.file is not None:
        return []
    is_redirect = response.status == 307
    return [
        _url_cache.basis(
            blob.storage_key, lambda signed: not is_redirect or ("location", signed.url) in response.headers
        )
    ]


def _begun(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks, after the first one has arrived: an unreadable object is then an error before the response begins."""
    return chain([next(chunks, b"")], chunks)


async def _locate(store: ObjectStore, blob: BlobRef) -> Path | SignedUrl | None:
    """The URL at which a client can read an object directly; None if it is to be relayed. Raises ObjectMissing.

    Access was checked before. A signed URL is reused for a part of its life, because checking the object and signing
    take milliseconds in a thread, and many clients pull the same image.
    """
    if store.name == FilesystemStore.name:
        return _file(store, blob)
    signed = _url_cache.get(blob.storage_key)
    if signed is not None:
        return signed
    where = await threads.run_store(_found, store, blob)
    if isinstance(where, SignedUrl):  # and not None, which is no URL: so not by `aread_through`
        ttl_s = get_config().s3_redirect_ttl_s * URL_CACHED_PART
        _url_cache.put(blob.storage_key, where, seen=(), size_bytes=512 + len(where.url), ttl_s=ttl_s)
    return where


def _file(store: ObjectStore, blob: BlobRef) -> Path:
    """The file. Checking it takes microseconds, and the server's own error for a missing file is not usable."""
    path = store.locate(blob.storage_key)
    assert isinstance(path, Path)  # noqa: S101 for the type checker
    try:
        is_whole = os.stat(path).st_size == blob.size_bytes
    except FileNotFoundError:
        if not path.parent.exists():
            raise StorageError("reading an object: its folder is missing, is the disk mounted?") from None
        is_whole = False
    except OSError as error:
        raise StorageError(f"reading an object: {os.strerror(error.errno or 0)}") from error
    if not is_whole:
        raise ObjectMissing("reading an object: it is missing, or has another size")
    return path


def _found(store: ObjectStore, blob: BlobRef) -> Path | SignedUrl | None:
    if store.size_bytes(blob.storage_key) != blob.size_bytes:
        raise ObjectMissing("looking for an object: it is missing, or has another size")
    return store.locate(blob.storage_key)


def _is_range_wanted(request: Request, blob: BlobRef) -> bool:
    """RFC 9110 §13.1.5: with `If-Range` only if the client's copy is this one."""
    condition = request.headers.get("if-range", "")
    return request.method == "GET" and (not condition or condition.strip() == f'"{blob.digest}"')
