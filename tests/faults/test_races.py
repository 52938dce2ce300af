"""Many at once on the same thing: each tag has one history, nothing committed loses its blobs, nobody gets a 5xx."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import psycopg

from tests.support.extent import IS_FULL
from tests.support.linearizability import Operation, violations
from tests.support.people import admin
from tests.support.registry import Image, digest_of, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server

WRITERS = 50 if IS_FULL else 12
MOVES = 8
READERS = 6
ROUNDS = 40 if IS_FULL else 12


class Person:
    """Somebody with a connection of his own to one of the servers."""

    def __init__(self, server: Server, *repositories: str) -> None:
        scopes = [f"repository:{repository}:pull,push,delete" for repository in repositories]
        headers = sign_in(server, admin(server), *scopes) | {"x-portolan-worker": "1"}
        self.http = httpx.Client(base_url=server.url, headers=headers, timeout=60)


def at_once(count: int, work: Callable[[int], None]) -> None:
    """Run `work` for each number at the same time. Raises what any of them raised."""
    together = threading.Barrier(count)

    def run(number: int) -> None:
        together.wait(60)
        work(number)

    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(run, number) for number in range(count)]:
            future.result()


def timed(call: Callable[[], httpx.Response]) -> tuple[httpx.Response, float, float]:
    begin_s = time.monotonic()
    answer = call()
    return answer, begin_s, time.monotonic()


def put_latest(person: Person, repository: str, body: bytes) -> httpx.Response:
    headers = {"content-type": "application/vnd.oci.image.manifest.v1+json"}
    return person.http.put(f"/v2/{repository}/manifests/latest", content=body, headers=headers)


def history_of(server: Server, repository: str, tag: str) -> list[str]:
    project, _, name = repository.partition("/")
    with psycopg.connect(server.database_url) as database:
        rows = database.execute(
            """
            SELECT encode(substring(new_digest FROM 2), 'hex') FROM content_taghistory AS history
            JOIN content_repository AS repository ON repository.id = history.repository_id
            JOIN content_project AS project ON project.id = repository.project_id
            WHERE project.name = %s AND repository.name = %s AND tag = %s AND new_digest IS NOT NULL
            ORDER BY history.at
            """,
            [project, name, tag],
        ).fetchall()
    return [f"sha256:{row[0]}" for row in rows]


def test_each_tag_has_one_history_however_many_move_and_read_it(server: Server, twin: Server, repository: str) -> None:
    first = make_image(layer_bytes=64)
    base = Person(server, repository)
    for blob in first.blobs:
        push_blob(base.http, repository, blob)
    put_manifest(base.http, repository, "latest", first)
    people = [Person((server, twin)[number % 2], repository) for number in range(WRITERS + READERS)]
    writes: list[Operation] = []
    reads: list[Operation] = []
    pids: set[str] = set()
    are_writing = threading.Semaphore(0)

    def write(person: Person) -> None:
        for _ in range(MOVES):
            body = first.manifest[:-1] + f', "annotations": {{"n": "{secrets.token_hex(8)}"}}}}'.encode()
            image = Image(body, first.blobs)
            answer, begin_s, end_s = timed(partial(put_latest, person, repository, body))
            assert answer.status_code == 201, answer.text
            writes.append(Operation(begin_s, end_s, image.digest))
        are_writing.release()

    def read(person: Person) -> None:
        while not are_writing.acquire(blocking=False):
            answer, begin_s, end_s = timed(lambda: person.http.get(f"/v2/{repository}/manifests/latest"))
            assert answer.status_code == 200, answer.text
            reads.append(Operation(begin_s, end_s, answer.headers["docker-content-digest"]))
            pids.add(answer.headers["x-portolan-worker"])
        are_writing.release()

    at_once(len(people), lambda number: (write if number < WRITERS else read)(people[number]))

    order = history_of(server, repository, "latest")
    assert len(order) == WRITERS * MOVES + 1
    assert violations(order=order, writes=writes, reads=reads) == []
    assert len(pids) >= 2
    print(f"{len(writes)} writes and {len(reads)} reads by {len(pids)} processes: one history")


def test_what_is_pushed_while_it_is_deleted_is_whole_or_not_there(
    server: Server, twin: Server, repository: str
) -> None:
    image = make_image(layer_bytes=500)
    people = [Person((server, twin)[number % 2], repository) for number in range(6)]

    def push(person: Person) -> None:
        for _ in range(ROUNDS):
            for blob in image.blobs:
                push_blob(person.http, repository, blob)
            headers = {"content-type": "application/vnd.oci.image.manifest.v1+json"}
            answer = person.http.put(f"/v2/{repository}/manifests/v1", content=image.manifest, headers=headers)
            assert answer.status_code == 201 or answer.json()["errors"][0]["code"] == "MANIFEST_BLOB_UNKNOWN"

    def delete(person: Person) -> None:
        for _ in range(ROUNDS * 2):
            answer = person.http.delete(f"/v2/{repository}/manifests/{image.digest}")
            assert answer.status_code in {202, 404}, answer.text

    at_once(6, lambda number: (push if number % 3 else delete)(people[number]))

    reader = people[0].http
    push_blob(reader, repository, image.blobs[0])
    push_blob(reader, repository, image.blobs[1])
    put_manifest(reader, repository, "v1", image)
    assert all(reader.get(f"/v2/{repository}/blobs/{digest_of(blob)}").content == blob for blob in image.blobs)


def test_a_blob_mounted_while_it_is_deleted_at_its_source_is_never_half_there(
    server: Server, twin: Server, repository: str
) -> None:
    source, target = f"{repository}/source", f"{repository}/target"
    owner, mounter = Person(server, source, target), Person(twin, source, target)
    for _ in range(ROUNDS):
        content = secrets.token_bytes(200)
        digest = push_blob(owner.http, source, content)
        answers: list[int] = []

        def act(number: int, digest: str = digest, answers: list[int] = answers) -> None:
            if number == 0:
                assert owner.http.delete(f"/v2/{source}/blobs/{digest}").status_code == 202
            else:
                mount = mounter.http.post(f"/v2/{target}/blobs/uploads/", params={"mount": digest, "from": source})
                answers.append(mount.status_code)

        at_once(2, act)

        assert answers[0] in {201, 202}
        found = mounter.http.get(f"/v2/{target}/blobs/{digest}")
        assert (found.status_code, found.content == content) == ((200, True) if answers[0] == 201 else (404, False))
