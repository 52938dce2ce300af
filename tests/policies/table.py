"""The table of paths: every way in which content is served or changed, and at which moments policies are asked there.

A row arranges what its path needs and returns what walks it, as often as it is called until it succeeds.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import httpx

from registry_core.content.parsing import OCI_INDEX, OCI_MANIFEST
from registry_core.content.policy_contexts import Moment
from tests.distribution.client import CONFIG, EMPTY_CONFIG, LAYER, Client, descriptor, digest_of, image, index

Act = Callable[[], httpx.Response]
PROJECT: Final = "governed"
PNG: Final = b"\x89PNG\r\n\x1a\n" + b"picture"
_MANIFESTS: Final = r"/v2/(.+)/manifests/([^/]*)"
_BLOBS: Final = r"/v2/(.+)/blobs/([^/]*)"
_UPLOADS: Final = r"/v2/(.+)/blobs/uploads/?"
_R: Final = "projects/{}/repositories/{}"
_A: Final = _R + "/artifacts/{}"
PULL, UPLOAD, PUT, TAG, MOUNT = Moment.PULL, Moment.UPLOAD, Moment.PUT, Moment.TAG, Moment.MOUNT
DELETE, COPY, CREATE, RESTORE = Moment.DELETE, Moment.COPY, Moment.CREATE, Moment.RESTORE


@dataclass(frozen=True)
class World:
    """A server with the policy, as its administrator sees it."""

    client: Client
    rest: httpx.Client

    def fresh(self) -> str:
        """The name of a repository that nobody has pushed to."""
        return f"{PROJECT}/r{secrets.token_hex(4)}"

    def image(self, repository: str, tag: str = "v1", **more: Any) -> bytes:
        """An image with one layer, pushed to the repository: its manifest."""
        return self.client.push_image(secrets.token_bytes(16), tag=tag, on=repository, **more)

    def path(self, repository: str, rest: str = "") -> str:
        """An address of the repository in the REST API."""
        project, _, name = repository.partition("/")
        return f"projects/{project}/repositories/{name}{rest}"


@dataclass(frozen=True)
class Row:
    """One path. `served`: the route of the data path (method, pattern) or of the REST API (method, shape) that it
    takes. `is_first`: it leads to a repository that is not there yet, and not there after a refusal either."""

    name: str
    served: tuple[str, str]
    moments: tuple[Moment, ...]
    arrange: Callable[[World], tuple[str, Act]]
    reason: str = "client"
    is_first: bool = False


def empty_index() -> bytes:
    """An index that refers to nothing, another one at each call."""
    return index(annotations={"nonce": secrets.token_hex(8)})


def _put_tag(world: World) -> tuple[str, Act]:
    repository, content = world.fresh(), empty_index()
    return repository, lambda: world.client.put_manifest(content, "v1", on=repository, content_type=OCI_INDEX)


def _put_digest_with_tag(world: World) -> tuple[str, Act]:
    repository, content = world.fresh(), empty_index()
    reference = f"{digest_of(content)}?tag=one&tag=two"
    return repository, lambda: world.client.put_manifest(content, reference, on=repository, content_type=OCI_INDEX)


def _put_image(world: World) -> tuple[str, Act]:
    repository = world.fresh()
    world.image(repository)
    content = image()
    return repository, lambda: world.client.put_manifest(content, "v2", on=repository)


def _move_tag(world: World) -> tuple[str, Act]:
    repository = world.fresh()
    world.image(repository)
    content = image()
    return repository, lambda: world.client.put_manifest(content, "v1", on=repository)


def _mount(world: World) -> tuple[str, Act]:
    source, repository, layer = world.fresh(), world.fresh(), secrets.token_bytes(16)
    assert world.client.push_blob(layer, on=source).status_code == 201
    return repository, lambda: world.client.start_upload(on=repository, mount=digest_of(layer), **{"from": source})


def _upload_short(world: World) -> tuple[str, Act]:
    repository = world.fresh()
    return repository, lambda: world.client.start_upload(on=repository)


def _upload_whole(world: World) -> tuple[str, Act]:
    repository, content = world.fresh(), secrets.token_bytes(1 << 20)
    return repository, lambda: world.client.push_blob(content, on=repository)


def _copy(world: World) -> tuple[str, Act]:
    source, target = world.fresh(), world.fresh()
    world.image(source)
    path = world.path(target, "/artifacts")
    return target, lambda: world.rest.post(path, params={"from": f"{source}:v1"})


def _create_tag(world: World) -> tuple[str, Act]:
    repository = world.fresh()
    world.image(repository)
    path = world.path(repository, "/artifacts/v1/tags")
    return repository, lambda: world.rest.post(path, json={"name": "v2"})


def _of_image(act: Callable[[World, str, str], httpx.Response]) -> Callable[[World], tuple[str, Act]]:
    """A path to an image `v1`: `act` gets the world, the repository and the manifest's digest."""

    def arrange(world: World) -> tuple[str, Act]:
        repository = world.fresh()
        digest = digest_of(world.image(repository))
        return repository, lambda: act(world, repository, digest)

    return arrange


def _of_blob(act: Callable[[World, str, str], httpx.Response]) -> Callable[[World], tuple[str, Act]]:
    """A path to a blob: `act` gets the world, the repository and the blob's digest."""

    def arrange(world: World) -> tuple[str, Act]:
        repository, content = world.fresh(), secrets.token_bytes(16)
        assert world.client.push_blob(content, on=repository).status_code == 201
        return repository, lambda: act(world, repository, digest_of(content))

    return arrange


def _undelete(world: World) -> tuple[str, Act]:
    repository = world.fresh()
    digest = digest_of(world.image(repository))
    assert world.client.delete(f"manifests/{digest}", on=repository).status_code == 202
    trash = f"projects/{PROJECT}/trash"
    (deletion,) = world.rest.get(trash, params={"q": f"name={digest}"}).json()
    return repository, lambda: world.rest.post(f"{trash}/{deletion['id']}/restore")


def _delete_project(world: World) -> tuple[str, Act]:
    return "doomed", lambda: world.rest.delete("projects/doomed")


def _child(world: World) -> tuple[str, Act]:
    repository = world.fresh()
    child = world.image(repository, tag="")
    parent = index(child)
    assert world.client.put_manifest(parent, "multi", on=repository, content_type=OCI_INDEX).status_code == 201
    return repository, lambda: world.client.get(f"manifests/{digest_of(child)}", on=repository)


def _cached(rest: Callable[[str, str], str]) -> Callable[[World], tuple[str, Act]]:
    """A path on which the answer is in the cache already."""

    def arrange(world: World) -> tuple[str, Act]:
        repository = world.fresh()
        layer = secrets.token_bytes(16)
        manifest = world.client.push_image(layer, tag="v1", on=repository)
        path = rest(digest_of(manifest), digest_of(layer))
        for _ in range(20):
            assert world.client.get(path, on=repository).status_code == 200
        return repository, lambda: world.client.get(path, on=repository)

    return arrange


def _addition(world: World) -> tuple[str, Act]:
    repository = world.fresh()
    config = json.dumps({"architecture": "amd64", "os": "linux", "history": [{"created_by": "make"}]}).encode()
    assert world.client.push_blob(config, on=repository).status_code == 201
    world.image(repository, config=descriptor(config, CONFIG))
    path = world.path(repository, "/artifacts/v1/additions/build_history")
    return repository, lambda: world.rest.get(path)


def _icon(world: World) -> tuple[str, Act]:
    repository = world.fresh()
    picture = PNG + secrets.token_bytes(4)
    for content in (EMPTY_CONFIG, picture):
        assert world.client.push_blob(content, on=repository).status_code == 201
    layer = descriptor(picture, LAYER, annotations={"io.goharbor.artifact.v1alpha1.icon": ""})
    assert world.client.put_manifest(image(layers=[layer]), "v1", on=repository).status_code == 201
    return repository, lambda: world.rest.get(f"icons/{digest_of(picture)}")


ROWS: Final = (
    Row("tag PUT", ("PUT", _MANIFESTS), (CREATE, PUT, TAG), _put_tag, is_first=True),
    Row("digest PUT with ?tag=", ("PUT", _MANIFESTS), (CREATE, PUT, TAG), _put_digest_with_tag, is_first=True),
    Row("PUT of an image", ("PUT", _MANIFESTS), (PUT, TAG), _put_image),
    Row("PUT that moves a tag", ("PUT", _MANIFESTS), (PUT, TAG), _move_tag),
    Row("mount", ("POST", _UPLOADS), (CREATE, MOUNT), _mount, is_first=True),
    Row("short upload", ("POST", _UPLOADS), (CREATE, UPLOAD), _upload_short, is_first=True),
    Row("long upload", ("POST", _UPLOADS), (CREATE, UPLOAD), _upload_whole, is_first=True),
    Row(
        "REST copy",
        ("POST", _R + "/artifacts"),
        (PULL, CREATE, COPY, MOUNT, PUT, TAG),
        _copy,
        reason="copy",
        is_first=True,
    ),
    Row("REST tag create", ("POST", _A + "/tags"), (TAG,), _create_tag),
    Row(
        "REST tag delete",
        ("DELETE", _A + "/tags/{}"),
        (DELETE,),
        _of_image(lambda world, repository, _: world.rest.delete(world.path(repository, "/artifacts/v1/tags/v1"))),
    ),
    Row(
        "tag DELETE",
        ("DELETE", _MANIFESTS),
        (DELETE,),
        _of_image(lambda world, repository, _: world.client.delete("manifests/v1", on=repository)),
    ),
    Row(
        "manifest DELETE",
        ("DELETE", _MANIFESTS),
        (DELETE,),
        _of_image(lambda world, repository, digest: world.client.delete(f"manifests/{digest}", on=repository)),
    ),
    Row(
        "blob DELETE",
        ("DELETE", _BLOBS),
        (DELETE,),
        _of_blob(lambda world, repository, digest: world.client.delete(f"blobs/{digest}", on=repository)),
    ),
    Row(
        "REST artifact delete",
        ("DELETE", _A),
        (DELETE,),
        _of_image(lambda world, repository, _: world.rest.delete(world.path(repository, "/artifacts/v1"))),
    ),
    Row(
        "REST repository delete",
        ("DELETE", _R),
        (DELETE,),
        _of_image(lambda world, repository, _: world.rest.delete(world.path(repository))),
    ),
    Row("undelete", ("POST", "projects/{}/trash/{}/restore"), (RESTORE,), _undelete),
    Row("REST project delete", ("DELETE", "projects/{}"), (DELETE,), _delete_project),
    Row(
        "manifest GET by tag",
        ("GET", _MANIFESTS),
        (PULL,),
        _of_image(lambda world, repository, _: world.client.get("manifests/v1", on=repository)),
    ),
    Row(
        "manifest HEAD",
        ("HEAD", _MANIFESTS),
        (PULL,),
        _of_image(lambda world, repository, digest: world.client.head(f"manifests/{digest}", on=repository)),
    ),
    Row("child of an index", ("GET", _MANIFESTS), (PULL,), _child),
    Row("cached manifest", ("GET", _MANIFESTS), (PULL,), _cached(lambda _manifest, _layer: "manifests/v1")),
    Row("cached blob", ("GET", _BLOBS), (PULL,), _cached(lambda _manifest, layer: f"blobs/{layer}")),
    Row(
        "blob GET",
        ("GET", _BLOBS),
        (PULL,),
        _of_blob(lambda world, repository, digest: world.client.get(f"blobs/{digest}", on=repository)),
    ),
    Row(
        "blob HEAD",
        ("HEAD", _BLOBS),
        (PULL,),
        _of_blob(lambda world, repository, digest: world.client.head(f"blobs/{digest}", on=repository)),
    ),
    Row(
        "blob range",
        ("GET", _BLOBS),
        (PULL,),
        _of_blob(
            lambda world, repository, digest: world.client.get(
                f"blobs/{digest}", on=repository, headers={"range": "bytes=0-3"}
            )
        ),
    ),
    Row("addition", ("GET", _A + "/additions/{}"), (PULL,), _addition),
    Row("icon", ("GET", "icons/{}"), (PULL,), _icon),
)
"""Redirects to an object store: tests/policies/test_verdicts.py, which needs no store. Garbage collection of untagged
artifacts and retention have no address of their own: tests/storage/test_collecting.py, tests/api/test_retentions.py."""

NOT_THERE_YET: Final = (
    "replication out",
    "replication in",
    "SBOM and vulnerability additions",
    "signing and scanning by the registry itself",
)
"""Paths of features to come: each gets a row with the feature."""

ASKED_AT_THE_START: Final = frozenset(
    (method, r"/v2/(.+)/blobs/uploads/([^/]+)") for method in ("GET", "PATCH", "PUT", "DELETE")
)
"""An upload is asked about when it begins."""

LISTS: Final = frozenset(
    (method, pattern)
    for method in ("GET", "HEAD")
    for pattern in (r"/v2/(.+)/tags/list", r"/v2/(.+)/referrers/([^/]*)", r"/v2/_catalog", r"/v2/?")
)
"""They say what there is, and serve none of it."""

WITHOUT_CONTENT: Final = frozenset(
    """
    GET ping|GET health|GET openapi.json|GET search|GET systeminfo|GET systeminfo/getcert|GET systeminfo/volumes
    GET jobservice/pools|GET jobservice/pools/{}/workers|PUT jobservice/jobs/{}|GET jobservice/jobs/{}/log
    GET jobservice/queues|PUT jobservice/queues/{}|GET schedules|GET schedules/{}/paused|GET system/purgeaudit
    GET system/purgeaudit/{}|PUT system/purgeaudit/{}|GET system/purgeaudit/{}/log|GET system/purgeaudit/schedule
    POST system/purgeaudit/schedule|PUT system/purgeaudit/schedule|GET retentions/metadatas|POST retentions
    GET retentions/{}|PUT retentions/{}|DELETE retentions/{}|GET retentions/{}/upcoming|GET retentions/{}/executions
    POST retentions/{}/executions|PATCH retentions/{}/executions/{}|GET retentions/{}/executions/{}/tasks
    GET retentions/{}/executions/{}/tasks/{}
    GET statistics|GET configurations|PUT configurations|GET system/CVEAllowlist|PUT system/CVEAllowlist
    GET registries|GET replication/policies|GET replication/executions|GET replication/adapters
    GET replication/adapterinfos|GET scans/all/metrics|GET scans/schedule/metrics|GET internalconfig|GET audit-logs
    GET auditlog-exts|GET auditlog-exts/events|GET quotas|GET quotas/{}|PUT quotas/{}|GET users|POST users
    GET users/current|GET users/current/permissions|GET users/search|GET users/{}|PUT users/{}|DELETE users/{}
    PUT users/{}/password|PUT users/{}/cli_secret|DELETE users/{}/cli_secret|DELETE users/{}/sessions
    GET users/{}/refresh_tokens|DELETE users/{}/refresh_tokens|DELETE users/{}/refresh_tokens/{}|PUT users/{}/sysadmin
    GET usergroups|POST usergroups|GET usergroups/search|GET usergroups/{}|PUT usergroups/{}|DELETE usergroups/{}
    GET permissions|GET robots|POST robots|GET robots/{}|PUT robots/{}|PATCH robots/{}|DELETE robots/{}|GET labels
    POST labels|GET labels/{}|PUT labels/{}|DELETE labels/{}|GET projects|HEAD projects|POST projects|GET projects/{}
    PUT projects/{}|GET projects/{}/_deletable|GET projects/{}/summary|GET projects/{}/artifacts|GET projects/{}/scanner
    PUT projects/{}/scanner|GET projects/{}/scanner/candidates|GET projects/{}/logs|GET projects/{}/auditlog-exts
    GET projects/{}/members|POST projects/{}/members|GET projects/{}/members/{}|PUT projects/{}/members/{}
    DELETE projects/{}/members/{}|GET projects/{}/metadatas|POST projects/{}/metadatas|GET projects/{}/metadatas/{}
    PUT projects/{}/metadatas/{}|DELETE projects/{}/metadatas/{}|GET projects/{}/robots|POST projects/{}/robots
    GET projects/{}/robots/{}|PUT projects/{}/robots/{}|DELETE projects/{}/robots/{}|GET repositories
    GET system/gc|GET system/gc/{}|PUT system/gc/{}|GET system/gc/{}/log|GET system/gc/schedule|POST system/gc/schedule
    PUT system/gc/schedule|GET system/storage|GET projects/{}/trash|DELETE projects/{}/trash/{}|GET trash/projects
    DELETE trash/projects/{}|POST trash/projects/{}/restore
    GET projects/{}/repositories|GET projects/{}/repositories/{}|PUT projects/{}/repositories/{}
    GET projects/{}/repositories/{}/artifacts|GET projects/{}/repositories/{}/artifacts/{}
    GET projects/{}/repositories/{}/artifacts/{}/tags|GET projects/{}/repositories/{}/artifacts/{}/accessories
    GET projects/{}/repositories/{}/artifacts/{}/additions/vulnerabilities
    GET projects/{}/immutabletagrules|POST projects/{}/immutabletagrules|PUT projects/{}/immutabletagrules/{}
    DELETE projects/{}/immutabletagrules/{}|GET projects/{}/immutabletagrules/{}/preview|GET projects/{}/holds
    POST projects/{}/immutabletagrules/preview|GET projects/{}/repositories/{}/artifacts/{}/hold
    PUT projects/{}/repositories/{}/artifacts/{}/hold|DELETE projects/{}/repositories/{}/artifacts/{}/hold
    POST projects/{}/repositories/{}/artifacts/{}/labels|DELETE projects/{}/repositories/{}/artifacts/{}/labels/{}
    """.replace("\n", "|").split("|")
)
"""Operations of the REST API (method and shape) that serve and change no content."""

MANIFEST_TYPES: Final = frozenset({OCI_INDEX, OCI_MANIFEST})
