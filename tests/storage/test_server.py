"""A registry whose blobs lie in an object store: push, pull, going on, and dying in between."""

from __future__ import annotations

import ast
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.conftest import ServerFactory
from tests.faults.test_large_layer import Layer, Memory, pull_stream, push_stream
from tests.faults.test_sweep import storage
from tests.storage.conftest import PART_BYTES
from tests.storage.test_driver import MIB, content_of
from tests.support.extent import IS_FULL
from tests.support.faults import LIE, RESET_AFTER, SERVER_ERROR, SLOW_DOWN, FaultyStore
from tests.support.minio import Minio
from tests.support.people import admin, create_project
from tests.support.registry import digest_of, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server
from tests.support.waiting import wait_until

LAYER_BYTES = (5224 if IS_FULL else 256) * MIB  # more than S3 takes in one request
FIRST_PARTS = 1000
MEMORY_BYTES = 96 * MIB  # a part, its copies on the way out, and a pipe


@dataclass
class Depot:
    """A server on a bucket, and a client that may push to `repository`."""

    server: Server
    client: httpx.Client
    repository: str
    bucket: str
    minio: Minio
    before: frozenset[str] = frozenset()

    def content(self, size_bytes: int, seed: int = 1) -> bytes:
        """Bytes that no other test pushes."""
        return random.Random(f"{self.repository} {seed}").randbytes(size_bytes)

    def blob(self, digest: str) -> str:
        return f"/v2/{self.repository}/blobs/{digest}"

    def start_upload(self) -> str:
        begun = self.client.post(f"/v2/{self.repository}/blobs/uploads/").raise_for_status()
        return str(begun.headers["location"])

    def part_count(self, name: str) -> int:
        """Of how many parts the store made the object: S3 has it in the ETag."""
        tag = self.minio.client().head_object(Bucket=self.bucket, Key=name)["ETag"].strip('"')
        return int(tag.partition("-")[2] or 1)

    def lose_parts(self, location: str) -> None:
        """What a store does with an unfinished upload once it is old."""
        token = location.rpartition("/")[2]
        notes = ast.literal_eval(
            self.server.manage(
                f"from registry_core.content.models import Upload\nprint(*Upload.objects.get(token={token!r}).parts)"
            )
        )
        name = f"objects/{notes['key']}"
        self.minio.client().abort_multipart_upload(Bucket=self.bucket, Key=name, UploadId=notes["upload_id"])

    def names(self, folder: str = "objects/") -> set[str]:
        """What lies in the bucket and did not before the test."""
        pages = self.minio.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=folder)
        return {entry["Key"] for page in pages for entry in page.get("Contents", [])} - self.before


@pytest.fixture(scope="module")
def servers(start_server: ServerFactory, minio: Minio) -> Callable[..., tuple[Server, str]]:
    """`servers(s3_redirect=False)`: a registry with these settings, and its bucket; the same one for each caller."""
    known: dict[str, tuple[Server, str]] = {}

    def make(**settings: Any) -> tuple[Server, str]:
        wanted = repr(sorted(settings.items()))
        if wanted not in known:
            environment = minio.environment(**({"s3_part_bytes": PART_BYTES} | settings))
            known[wanted] = start_server(**environment), environment["PORTOLAN_S3_BUCKET"]
        return known[wanted]

    return make


@pytest.fixture
def depot(servers: Callable[..., tuple[Server, str]], minio: Minio, unique: str) -> Iterator[Callable[..., Depot]]:
    """`depot(s3_redirect=False)`: a repository of the test's own in a registry with these settings."""
    clients: list[httpx.Client] = []

    def make(**settings: Any) -> Depot:
        server, bucket = servers(**settings)
        create_project(server, unique)
        repository = f"{unique}/app"
        headers = sign_in(server, admin(server), f"repository:{repository}:pull,push,delete")
        client = httpx.Client(base_url=server.url, headers=headers, timeout=60)
        clients.append(client)
        registry = Depot(server, client, repository, bucket, minio)
        registry.before = frozenset(registry.names(""))
        return registry

    yield make
    for client in clients:
        client.close()


def test_image_is_pushed_and_pulled_by_redirect(depot: Callable[..., Depot]) -> None:
    registry = depot()
    image = make_image(layer_bytes=12 * MIB)
    digests = [push_blob(registry.client, registry.repository, blob) for blob in image.blobs]
    put_manifest(registry.client, registry.repository, "v1", image)

    layer, digest = image.blobs[1], digests[1]
    head = registry.client.head(registry.blob(digest))
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(layer)))
    sent = registry.client.get(registry.blob(digest))
    assert (sent.status_code, sent.headers["docker-content-digest"]) == (307, digest)
    assert httpx.get(sent.headers["location"]).content == layer
    part = httpx.get(sent.headers["location"], headers={"range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, layer[5:10])

    assert len(registry.names()) == 2, "nothing but the two blobs"
    checked = storage(registry.server, "check")
    assert (checked.returncode, "blobs, 0 uploads" in checked.stdout) == (0, True), checked.stdout
    assert "hint: the bucket has no lifecycle rule" in checked.stdout
    wait_until(lambda: len(registry.names("journal/")) > 0, what="the journal is written")


def test_a_signed_url_serves_many_and_only_those_who_may_read(depot: Callable[..., Depot]) -> None:
    registry = depot()
    image = make_image(layer_bytes=1000)
    digests = [push_blob(registry.client, registry.repository, blob) for blob in image.blobs]
    put_manifest(registry.client, registry.repository, "v1", image)
    address = registry.blob(digests[1])

    def location() -> str:
        sent = registry.client.get(address)
        assert sent.status_code == 307
        return sent.headers["location"]

    first, signed_s = location(), time.monotonic()
    wait_until(lambda: time.monotonic() > signed_s + 1.1, what="the second that a signature names is over")
    assert location() == first, "this connection's worker signs anew"
    assert httpx.get(f"{registry.server.url}{address}").status_code == 401
    assert httpx.get(first).content == image.blobs[1]


def test_a_redirect_that_is_known_ends_with_the_blob_and_leaves_parts_to_the_store(
    depot: Callable[..., Depot],
) -> None:
    registry = depot()
    content = registry.content(1000)
    address = registry.blob(push_blob(registry.client, registry.repository, content))
    for _ in range(3):
        for headers in ({}, {"range": "bytes=5-9"}):
            sent = registry.client.get(address, headers=headers)
            assert (sent.status_code, sent.headers["content-length"]) == (307, "0")
        assert registry.client.head(address).headers["content-length"] == "1000"
    assert registry.client.delete(address).status_code == 202
    assert registry.client.get(address).status_code == registry.client.head(address).status_code == 404


def test_blob_passes_through_where_clients_cannot_reach_the_store(depot: Callable[..., Depot]) -> None:
    registry = depot(s3_redirect=False)
    for size in (0, 3, MIB, MIB + 1, 12 * MIB + 5):
        content = registry.content(size, seed=size)
        digest = push_blob(registry.client, registry.repository, content)
        whole = registry.client.get(registry.blob(digest))
        assert (whole.status_code, whole.content == content) == (200, True)
        if size > 10:
            part = registry.client.get(registry.blob(digest), headers={"range": f"bytes=7-{size - 2}"})
            assert (part.status_code, part.content == content[7 : size - 1]) == (206, True)
            assert part.headers["content-range"] == f"bytes 7-{size - 2}/{size}"
    assert registry.client.get(registry.blob(digest), headers={"range": f"bytes={size}-"}).status_code == 416


def test_several_ranges_pass_through_in_one_answer(depot: Callable[..., Depot]) -> None:
    registry = depot(s3_redirect=False)
    size = 9 * MIB
    content = registry.content(size)
    address = registry.blob(push_blob(registry.client, registry.repository, content))
    for ranges in ([(0, 9), (20, 29)], [(5, 5), (3 * MIB, 7 * MIB), (size - 4, size - 1)], [(MIB, MIB + 9), (0, 9)]):
        wanted = ",".join(f"{first}-{last}" for first, last in ranges)
        answer = registry.client.get(address, headers={"range": f"bytes={wanted}"})
        assert answer.status_code == 206
        assert int(answer.headers["content-length"]) == len(answer.content)
        position = 0
        for first, last in ranges:
            position = answer.content.index(f"bytes {first}-{last}/{size}\r\n\r\n".encode(), position)
            position = answer.content.index(b"\r\n\r\n", position) + 4
            assert answer.content[position : position + last - first + 1] == content[first : last + 1]


def test_clients_that_leave_early_cost_no_relays(depot: Callable[..., Depot]) -> None:
    registry = depot(s3_redirect=False)
    content = registry.content(12 * MIB)
    digest = push_blob(registry.client, registry.repository, content)
    for _ in range(100):  # more than the workers have relays
        with registry.client.stream("GET", registry.blob(digest)) as answer:
            assert answer.status_code == 200
            next(answer.iter_raw(1000))
    assert registry.client.get(registry.blob(digest)).content == content
    assert storage(registry.server, "check").returncode == 0


def test_upload_goes_on_by_chunks_in_any_worker(depot: Callable[..., Depot]) -> None:
    registry = depot()
    content = registry.content(17 * MIB + 11)
    location, at = registry.start_upload(), 0
    for size in (1, 1000, 2 * MIB, 3 * MIB, 6 * MIB, 100, 5 * MIB):
        chunk = content[at : at + size]
        with httpx.Client(base_url=registry.server.url, headers=registry.client.headers) as other:
            headers = {"content-range": f"{at}-{at + len(chunk) - 1}"}
            sent = other.patch(location, content=chunk, headers=headers).raise_for_status()
        at += len(chunk)
        assert sent.headers["range"] == f"0-{at - 1}"
    digest = digest_of(content)
    registry.client.put(location, params={"digest": digest}, content=content[at:]).raise_for_status()

    assert registry.client.get(registry.blob(digest), follow_redirects=True).content == content
    assert len(registry.names()) == 1, "the pieces are gone"


def test_digest_of_another_algorithm_is_checked_too(depot: Callable[..., Depot]) -> None:
    import hashlib

    registry = depot()
    content = registry.content(7 * MIB)
    for stated, status in (("sha512:" + "0" * 128, 400), (f"sha512:{hashlib.sha512(content).hexdigest()}", 201)):
        location = registry.start_upload()
        registry.client.patch(location, content=content).raise_for_status()
        assert registry.client.put(location, params={"digest": stated}).status_code == status
    assert registry.client.get(registry.blob(stated), follow_redirects=True).content == content
    assert len(registry.names()) == 1


def test_refused_and_cancelled_uploads_leave_nothing(depot: Callable[..., Depot]) -> None:
    registry = depot()
    for size in (3, 11 * MIB):
        location = registry.start_upload()
        registry.client.patch(location, content=registry.content(size)).raise_for_status()
        assert registry.client.put(location, params={"digest": digest_of(b"else")}).status_code == 400
        location = registry.start_upload()
        registry.client.patch(location, content=registry.content(size)).raise_for_status()
        registry.client.delete(location).raise_for_status()
    location = registry.start_upload()
    registry.client.patch(location, content=registry.content(11 * MIB)).raise_for_status()
    storage(registry.server, "sweep", "--idle=0")
    assert registry.names() == set()


def test_same_blob_pushed_at_once_is_kept_once(depot: Callable[..., Depot]) -> None:
    registry = depot()
    content = registry.content(9 * MIB)
    with ThreadPoolExecutor(4) as pool:
        digests = list(pool.map(lambda _: push_blob(registry.client, registry.repository, content), range(4)))
    assert set(digests) == {digest_of(content)}
    assert len(registry.names()) == 1


def test_upload_goes_on_after_kill_9(depot: Callable[..., Depot]) -> None:
    registry = depot()
    content = registry.content(24 * MIB)
    location, digest = registry.start_upload(), digest_of(content)
    _send_half_and_kill(registry, location, content)
    registry.server.start()

    status = registry.client.get(location).raise_for_status()
    at = int(status.headers["range"].partition("-")[2]) + 1
    assert at >= PART_BYTES, "what became parts is kept"
    registry.client.patch(location, content=content[at:]).raise_for_status()
    registry.client.put(location, params={"digest": digest}).raise_for_status()

    assert registry.client.get(registry.blob(digest), follow_redirects=True).content == content
    assert storage(registry.server, "sweep", "--idle=0").returncode == 0
    assert storage(registry.server, "check").returncode == 0
    assert len(registry.names()) == 1


def _send_half_and_kill(registry: Depot, location: str, content: bytes) -> None:
    """kill -9 while a request is under way whose first half has been recorded."""
    half = len(content) // 2
    request = (
        f"PATCH {location} HTTP/1.1\r\nHost: {registry.server.host}\r\n"
        f"Authorization: {registry.client.headers['authorization']}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    token = location.rpartition("/")[2]
    recorded = (
        f"from registry_core.content.models import Upload\nprint(Upload.objects.get(token={token!r}).offset_bytes)"
    )
    with socket.create_connection(("127.0.0.1", registry.server.port)) as connection:
        connection.sendall(request.encode() + content[:half])
        wait_until(lambda: int(registry.server.manage(recorded)) >= PART_BYTES, what="a part is recorded")
        registry.server.kill()


def test_push_gets_through_a_store_that_fails_now_and_then(depot: Callable[..., Depot], faulty: FaultyStore) -> None:
    registry = depot(s3_endpoint=faulty.url)
    faulty.fail(SLOW_DOWN, method="PUT", times=2)
    faulty.fail(SERVER_ERROR, method="PUT", times=1)
    faulty.fail(RESET_AFTER, method="POST", times=1)
    content = registry.content(13 * MIB)
    digest = push_blob(registry.client, registry.repository, content)
    assert faulty.hits == 4
    assert registry.client.get(registry.blob(digest), follow_redirects=True).content == content


def test_store_that_is_down_is_a_503_and_the_upload_goes_on_later(
    depot: Callable[..., Depot], faulty: FaultyStore
) -> None:
    registry = depot(s3_endpoint=faulty.url, s3_attempts=2, s3_redirect=False)
    content = registry.content(8 * MIB)
    location, digest = registry.start_upload(), digest_of(content)
    registry.client.patch(location, content=content[: 6 * MIB]).raise_for_status()
    faulty.fail(SERVER_ERROR, method="PUT", times=-1)
    refused = registry.client.patch(location, content=content[6 * MIB :])
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    faulty.heal()

    status = registry.client.get(location).raise_for_status()
    assert status.headers["range"] == f"0-{6 * MIB - 1}"
    registry.client.put(location, params={"digest": digest}, content=content[6 * MIB :]).raise_for_status()
    faulty.fail(SLOW_DOWN, method="GET", times=-1)
    assert registry.client.get(registry.blob(digest)).status_code == 503
    faulty.heal()
    assert registry.client.get(registry.blob(digest)).content == content


@pytest.mark.parametrize("request_by", ["PATCH", "PUT"])
def test_upload_whose_parts_the_store_has_lost_is_unknown_and_begun_anew(
    depot: Callable[..., Depot], request_by: str
) -> None:
    registry = depot()
    content = registry.content(13 * MIB)
    location, digest = registry.start_upload(), digest_of(content)
    registry.client.patch(location, content=content[: 6 * MIB]).raise_for_status()
    registry.lose_parts(location)

    where = {"digest": digest} if request_by == "PUT" else {}
    lost = registry.client.request(request_by, location, content=content[6 * MIB :], params=where)

    assert (lost.status_code, lost.json()["errors"][0]["code"]) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert registry.client.get(location).status_code == 404
    assert push_blob(registry.client, registry.repository, content) == digest
    assert registry.client.get(registry.blob(digest), follow_redirects=True).content == content
    assert len(registry.names()) == 1


def test_upload_whose_tail_the_store_has_lost_is_unknown(depot: Callable[..., Depot]) -> None:
    registry = depot()
    location = registry.start_upload()
    registry.client.patch(location, content=b"a tail").raise_for_status()
    for name in registry.names():
        registry.minio.client().delete_object(Bucket=registry.bucket, Key=name)

    lost = registry.client.patch(location, content=registry.content(6 * MIB))

    assert (lost.status_code, lost.json()["errors"][0]["code"]) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_sweep_notices_a_store_that_does_not_delete(depot: Callable[..., Depot], faulty: FaultyStore) -> None:
    registry = depot(s3_endpoint=faulty.url)
    registry.minio.client().put_object(Bucket=registry.bucket, Key=f"objects/{'a' * 32}-{'b' * 16}", Body=b"left")
    faulty.fail(LIE, method="DELETE", times=-1)
    swept = storage(registry.server, "sweep", "--idle=0")
    assert swept.returncode == 1
    assert "the store did not delete" in swept.stderr
    faulty.heal()
    assert storage(registry.server, "sweep", "--idle=0").stdout == "removed 0 uploads and 1 objects without a row\n"
    assert registry.names() == set()


def test_blobs_of_both_stores_are_readable(start_server: ServerFactory, minio: Minio, unique: str) -> None:
    environment = minio.environment()
    server = start_server()
    create_project(server, unique)
    repository = f"{unique}/app"
    contents = [content_of(1000, seed=1), content_of(1000, seed=2)]
    headers = sign_in(server, admin(server), f"repository:{repository}:pull,push")
    with httpx.Client(base_url=server.url, headers=headers, follow_redirects=True) as client:
        for content, more in zip(contents, ({}, environment), strict=True):
            server.environment.update(more)
            server.restart()
            push_blob(client, repository, content)
        for content in contents:
            answer = client.get(f"/v2/{repository}/blobs/{digest_of(content)}")
            assert answer.content == content
    checked = storage(server, "check")
    assert (checked.returncode, "2 blobs" in checked.stdout) == (0, True), checked.stdout
    del server.environment["PORTOLAN_S3_BUCKET"], server.environment["PORTOLAN_STORAGE"]
    assert "1 blobs in the store s3, which is not configured" in storage(server, "check").stdout


@pytest.mark.slow
def test_large_layer_passes_through_in_little_memory(depot: Callable[..., Depot]) -> None:
    registry = depot(s3_redirect=False, s3_part_bytes=PART_BYTES)
    layer = Layer(LAYER_BYTES)
    warm = push_blob(registry.client, registry.repository, registry.content(20 * MIB))
    registry.client.get(registry.blob(warm))
    memory, started = Memory(registry.server), time.monotonic()
    with memory.watched():
        push_stream(registry.client, registry.repository, layer)
        pushed, after_push_bytes = time.monotonic(), memory.growth_bytes
        pulled = pull_stream(registry.client, registry.repository, layer.digest)
    assert pulled == (layer.digest, LAYER_BYTES)
    print(
        f"\n{LAYER_BYTES >> 20} MiB pushed in {pushed - started:.1f} s, pulled in {time.monotonic() - pushed:.1f} s;"
        f" memory grew by {after_push_bytes >> 20} MiB, then {memory.growth_bytes >> 20} MiB"
    )
    assert memory.growth_bytes < MEMORY_BYTES
    parts = max(registry.part_count(name) for name in registry.names())
    grown_bytes = max(0, LAYER_BYTES - FIRST_PARTS * PART_BYTES)
    assert parts == min(FIRST_PARTS, -(-LAYER_BYTES // PART_BYTES)) + -(-grown_bytes // (64 * MIB)), "parts grow"


@pytest.mark.slow
def test_uploads_survive_the_death_of_workers(depot: Callable[..., Depot]) -> None:
    registry = depot(workers=2)
    contents = [registry.content(6 * MIB + seed, seed=seed) for seed in range(12)]
    over = threading.Event()

    def push(content: bytes) -> str:
        while True:
            try:
                with httpx.Client(base_url=registry.server.url, headers=registry.client.headers, timeout=60) as client:
                    return push_blob(client, registry.repository, content)
            except httpx.HTTPError:
                over.wait(0.1)

    def kill() -> None:
        for _ in range(5):
            over.wait(0.7)
            workers = registry.server.pids()[1:]
            if workers:
                os.kill(workers[0], signal.SIGKILL)
            else:
                registry.server.kill()
                registry.server.start()

    with ThreadPoolExecutor(4) as pool:
        killing = pool.submit(kill)
        digests = list(pool.map(push, contents))
        killing.result()
    registry.server.restart()
    for digest, content in zip(digests, contents, strict=True):
        assert registry.client.get(registry.blob(digest), follow_redirects=True).content == content
    assert storage(registry.server, "sweep", "--idle=0").returncode == 0
    checked = storage(registry.server, "check")
    assert checked.returncode == 0, checked.stdout
    assert len(registry.names()) == len(contents)
