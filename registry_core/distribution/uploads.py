"""Uploads of blobs. OCI distribution-spec 1.1, "Pushing blobs", "Mounting a blob".

Chunks are collected into pieces and passed to a thread that writes and hashes them, so that the event loop waits for
neither. A short body is read in full first, and then handled in one call in a thread.

The number of concurrent writes is bounded, and shared fairly between subjects and addresses
(`registry_core.http.fairness`). A request counts from its first piece on, so that a body that trickles does not block
others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from registry_core.access import Cause, Subject, authority
from registry_core.content import uploads
from registry_core.content.blobs import BlobRef
from registry_core.content.errors import UploadOutOfOrder
from registry_core.content.mounts import Wanted, find_source, mount_blob
from registry_core.content.policies import policies
from registry_core.content.policy_contexts import MountContext, UploadContext, blob_content
from registry_core.content.repositories import RepositoryRef, nothing_to_ask
from registry_core.content.uploads import UploadSession
from registry_core.digests import ALGORITHMS, Digest
from registry_core.distribution.errors import OciError
from registry_core.distribution.guards import Target, source_of_mount, uploading, writable
from registry_core.distribution.identity import Identity
from registry_core.distribution.ranges import parse_content_range
from registry_core.distribution.services import Services
from registry_core.http import callers, threads
from registry_core.http.fairness import AllTaken, OverShare
from registry_core.http.messages import ClientGone, Header, Request, Response
from registry_core.names import InvalidName, RepositoryName

T = TypeVar("T")
PIECE_BYTES = 512 << 10
# A hint for clients that choose their chunk size: smaller chunks cost more in requests than they are worth.
CHUNK_MIN_BYTES = 64 << 10


async def start(request: Request, services: Services, name: str) -> Response:
    """POST: begin an upload, or upload in one request (`digest`), or mount the blob from another repository
    (`mount`)."""
    identity, target = await writable(request, services, name)
    query = {key: values[0] for key, values in request.query().items()}
    if "mount" in query:
        digest = Digest.parse(query["mount"])
        mounted = await _mount(services, identity, target, digest, query.get("from", ""))
        if mounted is not None:
            return _created(name, mounted.digest)
    stated = _stated_digest(request)
    algorithm = stated.algorithm if stated else _algorithm(query.get("digest-algorithm", "sha256"))
    size_bytes = request.content_length if stated else None
    repository = await target.made(partial(_ask_before_first, stated, size_bytes, target.cause))
    threads.refuse_while_away()
    state = uploads.start_at_once(repository=repository, by=identity.subject, algorithm=algorithm)
    if state is None:
        state = await threads.run(
            uploads.start_upload,
            repository=repository,
            cause=target.cause,
            algorithm=algorithm,
            digest=stated,
            size_bytes=size_bytes,
        )
    if stated is None:
        return _accepted(name, state.token, 0)
    return await _finished(request, services, identity, repository, state.token, stated, name)


async def status(request: Request, services: Services, name: str, token: str) -> Response:
    """GET: the state of the upload."""
    identity, repository = await uploading(request, services, name)
    state = await threads.run_upload(uploads.upload_state, repository=repository, by=identity.subject, token=token)
    return Response(204, _progress(name, token, state.offset_bytes))


async def patch(request: Request, services: Services, name: str, token: str) -> Response:
    """PATCH: append a chunk (with Content-Range, which must begin where the upload ends) or a stream."""
    identity, repository = await uploading(request, services, name)
    if _is_short(request):
        append_short = partial(_append_short, request, repository, identity.subject, token)
        offset = await _at_once(request, services, identity, append_short)
        return _accepted(name, token, offset)

    async def append(session: UploadSession, pieces: AsyncIterator[bytes]) -> Response:
        _check_order(request, token, session.offset_bytes)
        await _receive(pieces, session)
        await threads.run_upload(session.release)
        return _accepted(name, token, session.offset_bytes)

    return await _with_session(request, services, identity, repository, token, append)


async def put(request: Request, services: Services, name: str, token: str) -> Response:
    """PUT: append the rest and make the upload the blob `digest`."""
    identity, repository = await uploading(request, services, name)
    stated = _stated_digest(request)
    if stated is None:
        raise OciError(400, "DIGEST_INVALID", "the parameter digest is missing: set it to the blob's digest")
    return await _finished(request, services, identity, repository, token, stated, name)


async def cancel(request: Request, services: Services, name: str, token: str) -> Response:
    """DELETE: cancel the upload."""
    identity, repository = await uploading(request, services, name)
    await threads.run_upload(uploads.cancel_upload, repository=repository, by=identity.subject, token=token)
    return Response(204)


async def _finished(
    request: Request,
    services: Services,
    identity: Identity,
    repository: RepositoryRef,
    token: str,
    stated: Digest,
    name: str,
) -> Response:
    if _is_short(request):
        finish = partial(_finish_short, request, repository, identity.subject, token, stated)
        blob = await _at_once(request, services, identity, finish)
        return _created(name, blob.digest)

    async def finish_long(session: UploadSession, pieces: AsyncIterator[bytes]) -> Response:
        return await _finish(request, pieces, session, stated, name)

    return await _with_session(request, services, identity, repository, token, finish_long)


async def _with_session(
    request: Request,
    services: Services,
    identity: Identity,
    repository: RepositoryRef,
    token: str,
    work: Callable[[UploadSession, AsyncIterator[bytes]], Awaitable[Response]],
) -> Response:
    """Claim the upload and run the work on the pieces of the body; if it fails, end the session as the error
    requires."""
    session = await threads.run_upload(uploads.claim_upload, repository=repository, by=identity.subject, token=token)
    try:
        pieces = await _begun(_pieces(_first_kept(request)))
        with _one_more(request, services, identity):
            return await work(session, pieces)
    except BaseException as error:
        await asyncio.shield(threads.run_upload(session.end_after, error))
        raise


async def _first_kept(request: Request) -> AsyncIterator[bytes]:
    """The chunks. Those of the first piece are counted as kept in memory as they arrive: nothing else bounds how many
    requests collect one. Raises TooManyBodies."""
    kept_bytes = 0
    async for chunk in request.chunks():
        if kept_bytes < PIECE_BYTES:
            request.keep(len(chunk))
            kept_bytes += len(chunk)
        yield chunk


async def _begun(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces, after the first of them has arrived."""
    first = await anext(pieces, b"")

    async def all_of_them() -> AsyncIterator[bytes]:
        if first:
            yield first
        async for piece in pieces:
            yield piece

    return all_of_them()


async def _at_once(request: Request, services: Services, identity: Identity, work: Callable[[_ShortBody], T]) -> T:
    """Read a short body, then handle it in one call in a thread, on one connection."""
    body = await _short_body(request)
    with _one_more(request, services, identity):
        return await threads.run_upload(work, body)


@contextmanager
def _one_more(request: Request, services: Services, identity: Identity) -> Iterator[None]:
    """Take one of the concurrent writes. Raises OciError if this subject, its address, or all together have as many as
    they may."""
    try:
        with services.uploads.one(identity.subject.key, callers.network_of(request.address)):
            yield
    except AllTaken:
        raise _later("the registry cannot take more uploads at the moment: try again") from None
    except OverShare:
        raise _later("you have as many uploads in progress as one client may have: send fewer at a time") from None


def _later(message: str) -> OciError:
    return OciError(429, "TOOMANYREQUESTS", message, headers=[("retry-after", "5")])


@dataclass(frozen=True, slots=True)
class _ShortBody:
    """A body that was read before anything else; `broke_off` if the client disconnected in the middle."""

    content: bytes
    broke_off: type[ClientGone] | None = None  # not the error itself: it would keep the connection alive


def _is_short(request: Request) -> bool:
    length = request.content_length
    return length <= PIECE_BYTES if length is not None else "transfer-encoding" not in request.headers


async def _short_body(request: Request) -> _ShortBody:
    pieces: list[bytes] = []
    try:
        async for chunk in request.chunks():
            request.keep(len(chunk))
            pieces.append(chunk)
    except ClientGone as error:
        return _ShortBody(b"".join(pieces), type(error))
    return _ShortBody(b"".join(pieces))


def _append_short(request: Request, repository: RepositoryRef, by: Subject, token: str, body: _ShortBody) -> int:
    check = partial(_check_order, request, token)
    offset = uploads.append(repository=repository, by=by, token=token, content=body.content, check=check)
    _end_unless_whole(body)  # what came of it is kept, to go on from
    return offset


def _finish_short(
    request: Request, repository: RepositoryRef, by: Subject, token: str, stated: Digest, body: _ShortBody
) -> BlobRef:
    _end_unless_whole(body)  # clients that send a blob in this one request send all of it again
    check = partial(_check_order, request, token)
    return uploads.finish(repository=repository, by=by, token=token, last=body.content, stated=stated, check=check)


def _end_unless_whole(body: _ShortBody) -> None:
    if body.broke_off is not None:
        raise body.broke_off


async def _finish(
    request: Request, pieces: AsyncIterator[bytes], session: UploadSession, stated: Digest, name: str
) -> Response:
    _check_order(request, session.token, session.offset_bytes)
    begin = session.position()
    try:
        await _receive(pieces, session)
    except ClientGone:
        # Clients that send a blob in one request send all of it again.
        await threads.run_upload(session.go_back, begin)
        raise
    blob = await threads.run_upload(session.commit, stated)
    return _created(name, blob.digest)


async def _receive(pieces: AsyncIterator[bytes], session: UploadSession) -> None:
    """Append the pieces of a request's body: one is written while the next one arrives."""
    writing: asyncio.Future[None] | None = None
    try:
        async for piece in pieces:
            if writing is not None:
                await writing
            writing = asyncio.ensure_future(threads.run_upload(session.write, piece))
    finally:
        if writing is not None:
            await writing


async def _pieces(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks, collected into pieces of about PIECE_BYTES. If the client disconnects, the bytes before that are
    still returned."""
    gathered: list[bytes] = []
    size = 0
    broke_off: type[ClientGone] | None = None
    try:
        async for chunk in chunks:
            gathered.append(chunk)
            size += len(chunk)
            if size >= PIECE_BYTES:
                yield b"".join(gathered)
                gathered, size = [], 0
    except ClientGone as error:
        broke_off = type(error)
    if gathered:
        yield b"".join(gathered)
    if broke_off is not None:
        raise broke_off


def _check_order(request: Request, token: str, offset_bytes: int) -> None:
    header = request.headers.get("content-range", "")
    if not header:
        return
    chunk = parse_content_range(header)
    if chunk is None:
        raise OciError(400, "BLOB_UPLOAD_INVALID", "Content-Range must be <first byte>-<last byte>, such as 0-1048575")
    first, last = chunk
    if first != offset_bytes:
        raise UploadOutOfOrder(token, offset_bytes)
    if request.content_length is not None and request.content_length != last - first + 1:
        raise OciError(400, "SIZE_INVALID", "Content-Range and Content-Length state different lengths")


def _ask_before_first(digest: Digest | None, size_bytes: int | None, cause: Cause, repository: RepositoryRef) -> None:
    policies.ask(UploadContext(cause, repository, digest, size_bytes))


async def _mount(
    services: Services, identity: Identity, target: Target, digest: Digest, source_name: str
) -> BlobRef | None:
    """The blob, linked from a repository that the caller may read; None (which begins an upload) for every other
    reason.

    Raises Refused by a policy of the target.
    """
    source_id, projects = None, None
    if source_name:
        source = await source_of_mount(services, identity, source_name) if _is_name(source_name) else None
        if source is None:
            return None
        source_id = source.id
    else:
        projects = await threads.run(authority().pullable_projects, identity.subject)
    wanted = Wanted(digest, source_id, projects, source_name)
    repository = target.repository or await _made_for_mount(target, wanted)
    if repository is None:
        return None
    return await threads.run(mount_blob, repository=repository, wanted=wanted, cause=target.cause)


async def _made_for_mount(target: Target, wanted: Wanted) -> RepositoryRef | None:
    """The repository, created to mount into; None if there is nothing to mount, and so another policy to ask."""

    def ask(repository: RepositoryRef) -> None:
        policies.ask(MountContext(target.cause, repository, blob_content(blob.digest, blob.size_bytes), source))

    if not policies.concerned_with_new_repositories(target.project):
        return await target.made(nothing_to_ask)
    found = await threads.run(find_source, wanted=wanted, cause=target.cause)
    if found is None:
        return None
    blob, source = found
    return await target.made(ask)


def _is_name(text: str) -> bool:
    try:
        RepositoryName.parse(text)
    except InvalidName:
        return False
    return True


def _algorithm(text: str) -> str:
    if text not in ALGORITHMS:
        raise OciError(400, "UNSUPPORTED", f"digest-algorithm must be {' or '.join(ALGORITHMS)}")
    return text


def _accepted(name: str, token: str, offset_bytes: int) -> Response:
    return Response(202, [*_progress(name, token, offset_bytes), ("content-length", "0")])


def _progress(name: str, token: str, offset_bytes: int) -> list[Header]:
    return [
        ("location", f"/v2/{name}/blobs/uploads/{token}"),
        ("range", f"0-{max(0, offset_bytes - 1)}"),
        ("docker-upload-uuid", token),
        ("oci-chunk-min-length", str(CHUNK_MIN_BYTES)),
    ]


def _stated_digest(request: Request) -> Digest | None:
    """The blob's digest as the client states it; if stated twice, both must be equal."""
    stated = set(request.query().get("digest", []))
    if len(stated) > 1:
        raise OciError(400, "DIGEST_INVALID", "the parameter digest is given several times: a blob has one digest")
    return Digest.parse(stated.pop()) if stated else None


def _created(name: str, digest: Digest) -> Response:
    headers = [
        ("location", f"/v2/{name}/blobs/{digest}"),
        ("docker-content-digest", str(digest)),
        ("content-length", "0"),
    ]
    return Response(201, headers)
