"""Manifests: pulled, pushed with their tags, deleted. OCI distribution-spec 1.1, "Pulling/Pushing/Deleting
manifests"."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial

from registry_core.access import Cause
from registry_core.caching.cache import Cache
from registry_core.config import get_config
from registry_core.content.errors import ManifestInvalid, ManifestTooLarge, ManifestUnknown
from registry_core.content.manifests import PutResult, ask_before_first, delete_manifest, put_manifest
from registry_core.content.objects import is_lost
from registry_core.content.parsing import ParsedManifest, parse_manifest
from registry_core.content.policies import Missing, policies
from registry_core.content.policy_contexts import Content
from registry_core.content.repositories import RepositoryRef
from registry_core.content.tags import delete_tag
from registry_core.digests import Digest
from registry_core.distribution import cached_answers
from registry_core.distribution.errors import OciError
from registry_core.distribution.guards import deletable, existing, is_pushing, readable_project, writable
from registry_core.distribution.identity import Identity
from registry_core.distribution.pull_policies import before_pull, cause_of, is_supplied
from registry_core.distribution.pulls import pull_of
from registry_core.distribution.reads import StoredManifest, UsedBlob
from registry_core.distribution.services import Services
from registry_core.http import threads
from registry_core.http.messages import BodyTooLarge, Request, Response
from registry_core.names import InvalidName, is_tag, parse_reference

MAX_TAGS = 100
PARSED_AT_ONCE_BYTES = 8 << 10
LOOK_FOR_S = 1.0
_manifest_cache: Cache[StoredManifest] = Cache("manifests", share=1 / 2)


async def get(request: Request, services: Services, name: str, reference: str) -> Response:
    """GET and HEAD: the manifest of a tag or a digest.

    HEAD is 404 for callers that may push it while one of its blobs is lost: clients use HEAD to find out what they need
    not push.
    """
    identity, located = await readable_project(request, services, name)
    wanted = _reference(reference)
    repository = await existing(request, services, identity, located, "manifest", wanted)
    manifest = await _load(request, services, identity, repository, wanted)
    tag = wanted if isinstance(wanted, str) else ""
    verdicts = await before_pull(request, services, identity, repository, _content(manifest), tag)
    is_asked_before_push = request.method == "HEAD" and await is_pushing(services, identity, repository)
    if is_asked_before_push:
        await _refuse_incomplete(services, repository, manifest)
    pull = pull_of(manifest.artifact_id, tag, identity.subject) if request.method == "GET" else None
    if pull is not None:
        services.pulls.count(pull)
    headers = [
        ("content-type", manifest.media_type),
        ("docker-content-digest", str(manifest.digest)),
        ("etag", f'"{manifest.digest}"'),
        ("content-length", str(len(manifest.content))),
    ]
    if is_known_to_client(request, manifest.digest):
        return Response(304, headers[1:3])
    response = Response(200, headers, manifest.content)
    if is_asked_before_push:
        return response  # the blobs are checked each time
    is_it = _manifest_cache.basis((repository.id, wanted), lambda cached: cached is manifest)
    cached_answers.put(request, response, identity=identity, repository=repository, bases=[is_it, *verdicts], pull=pull)
    return response


async def put(request: Request, services: Services, name: str, reference: str) -> Response:
    """PUT: store a manifest, and point the reference and every `tag` parameter at it."""
    _, target = await writable(request, services, name)
    wanted = _reference(reference)
    tags = _tags(request, wanted)
    content = await _read(request)
    parse = partial(_parse, content, request.headers.get("content-type", ""), wanted)
    # Up to this size parsing takes less time than a thread switch.
    manifest = parse() if len(content) <= PARSED_AT_ONCE_BYTES else await threads.run_plain(parse)
    ask = partial(_ask_before_first, manifest, tags, target.cause)
    repository = await target.made(ask)
    result = await threads.run(put_manifest, repository=repository, manifest=manifest, tags=tags, cause=target.cause)
    return _created(name, reference, manifest, result)


async def delete(request: Request, services: Services, name: str, reference: str) -> Response:
    """DELETE: a tag alone, or by digest the manifest with its tags."""
    identity, repository = await deletable(request, services, name)
    wanted, cause = _reference(reference), cause_of(request, identity)
    if isinstance(wanted, Digest):
        await threads.run(delete_manifest, repository=repository, digest=wanted, cause=cause)
    else:
        await threads.run(delete_tag, repository=repository, tag=wanted, cause=cause)
    return Response(202, [("content-length", "0")])


def is_known_to_client(request: Request, digest: Digest) -> bool:
    """Whether `If-None-Match` contains the digest (RFC 9110 §13.1.2, weak comparison)."""
    header = request.headers.get("if-none-match", "")
    if not header:
        return False
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")}
    return "*" in tags or str(digest) in tags


def _ask_before_first(manifest: ParsedManifest, tags: tuple[str, ...], cause: Cause, repository: RepositoryRef) -> None:
    ask_before_first(repository=repository, manifest=manifest, tags=tags, cause=cause)


def _content(manifest: StoredManifest) -> Content:
    """The manifest as policies see it."""
    return Content(
        "manifest",
        manifest.digest,
        manifest.media_type,
        manifest.artifact_type,
        manifest.size_bytes,
        manifest.artifact_id,
    )


async def _load(
    request: Request, services: Services, identity: Identity, repository: RepositoryRef, wanted: str | Digest
) -> StoredManifest:
    """The manifest, possibly fetched by a provider of the project. Raises ManifestUnknown."""
    try:
        return await _find(services, repository, wanted)
    except ManifestUnknown:
        if not policies.providers(repository.project):
            raise
        cause, project = cause_of(request, identity), repository.project
        if not await is_supplied(services, Missing(cause, project, repository.name, repository, "manifest", wanted)):
            raise
    return await _find(services, repository, wanted)


async def _find(services: Services, repository: RepositoryRef, wanted: str | Digest) -> StoredManifest:
    async def read() -> StoredManifest:
        manifest = await services.reads.manifest(repository.id, wanted)
        if manifest is None:
            raise ManifestUnknown(f"{repository.name} has no manifest {wanted}", {"reference": str(wanted)})
        return manifest

    return await _manifest_cache.aread_through(
        (repository.id, wanted),
        read,
        depends_on=[repository.key],
        size_bytes=lambda manifest: 512 + len(manifest.content),
    )


async def _refuse_incomplete(services: Services, repository: RepositoryRef, manifest: StoredManifest) -> None:
    """A caller that is about to push must not be told that the manifest exists while one of its blobs, or of a manifest
    in it, is damaged or lost: clients would push nothing, so nothing would be healed. Raises ManifestUnknown."""
    used = await services.reads.blobs_of(repository.id, manifest.artifact_id)
    damaged = next((blob.digest for blob in used if not blob.is_live), None)
    damaged = damaged or await threads.run_store(_first_lost, used)
    if damaged is not None:
        raise ManifestUnknown(
            f"the manifest {manifest.digest} refers to {damaged}, which is damaged or lost: push it again with all of "
            "its blobs to heal it",
            {"reference": str(manifest.digest), "digest": str(damaged)},
        )


def _first_lost(blobs: list[UsedBlob]) -> Digest | None:
    """A blob whose object is missing, if one is found within LOOK_FOR_S: an object store is asked for each object, and
    a manifest can have thousands."""
    until_s = time.monotonic() + LOOK_FOR_S
    for blob in blobs:
        if is_lost(store=blob.store, key=blob.key, size_bytes=blob.size_bytes):
            return blob.digest
        if time.monotonic() > until_s:
            break
    return None


async def _read(request: Request) -> bytes:
    limit = get_config().manifest_limit_bytes
    try:
        return await request.read(limit_bytes=limit)
    except BodyTooLarge:
        raise ManifestTooLarge(f"a manifest has at most {limit} bytes") from None


def _parse(content: bytes, content_type: str, wanted: str | Digest) -> ParsedManifest:
    algorithm = wanted.algorithm if isinstance(wanted, Digest) else "sha256"
    manifest = parse_manifest(content, content_type=content_type, algorithm=algorithm)
    if isinstance(wanted, Digest) and manifest.digest != wanted:
        raise OciError(
            400,
            "DIGEST_INVALID",
            "the manifest does not have the digest it was pushed with",
            {"stated": str(wanted), "computed": str(manifest.digest)},
        )
    return manifest


def _tags(request: Request, wanted: str | Digest) -> tuple[str, ...]:
    extra = request.query().get("tag", [])
    if len(extra) > MAX_TAGS:
        raise OciError(414, "UNSUPPORTED", f"one request may push at most {MAX_TAGS} tags")
    for tag in extra:
        if not is_tag(tag):
            raise OciError(400, "MANIFEST_INVALID", f"{tag[:140]!r} is not a tag")
    return (*extra,) if isinstance(wanted, Digest) else (wanted, *extra)


def _created(name: str, reference: str, manifest: ParsedManifest, result: PutResult) -> Response:
    headers = [
        ("location", f"/v2/{name}/manifests/{manifest.digest}"),
        ("docker-content-digest", str(manifest.digest)),
        ("content-length", "0"),
        *_tag_headers(result.tags),
    ]
    if manifest.subject is not None:
        headers.append(("oci-subject", str(manifest.subject)))
    if result.media_type != manifest.media_type:
        headers.append(("warning", f'299 - "{_kept_type(manifest, result)}"'))
    return Response(201, headers)


def _kept_type(manifest: ParsedManifest, result: PutResult) -> str:
    """A warning that a client may show (OCI distribution-spec 1.1, "Warnings")."""
    return (
        f"the repository has this manifest as {result.media_type} and keeps it so: "
        f"delete it first to push it as {manifest.media_type}"
    )


def _tag_headers(tags: Iterable[str]) -> list[tuple[str, str]]:
    return [("oci-tag", tag) for tag in tags]


def _reference(text: str) -> str | Digest:
    try:
        return parse_reference(text)
    except InvalidName as error:
        raise ManifestInvalid(str(error)) from None
