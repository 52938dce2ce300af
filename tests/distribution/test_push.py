"""Pushing blobs: at once, in chunks, by mounting; and what happens when a push goes wrong half-way."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from registry_core.digests import Digest
from tests.distribution.client import Client, digest_of, error_code, refusal
from tests.distribution.conftest import ALICE, DORA, GUS, OLGA
from tests.support.server import PORTOLAN, Server
from tests.support.waiting import wait_until

CONTENT = secrets.token_bytes(100_000)
DIGEST = digest_of(CONTENT)


def elsewhere(project: str = "depot") -> str:
    return f"{project}/r{secrets.token_hex(4)}"


def begin(client: Client) -> str:
    """Start an upload; the path to go on at."""
    answer = client.start_upload()
    assert answer.status_code == 202
    assert answer.headers["range"] == "0-0"
    location = str(answer.headers["location"])
    assert location.endswith(answer.headers["docker-upload-uuid"])
    return location


def append(client: Client, location: str, content: bytes, at: int | None = None) -> int:
    headers = {} if at is None else {"content-range": f"{at}-{at + len(content) - 1}"}
    return client.http.patch(location, content=content, headers=headers).status_code


def offset(client: Client, location: str) -> int:
    """How many bytes the registry has of an upload (of more than one byte)."""
    answer = client.http.get(location)
    assert answer.status_code == 204
    last = int(answer.headers["range"].removeprefix("0-"))
    return last + 1 if last else 0


def finish(client: Client, location: str, content: bytes = b"", digest: str = DIGEST) -> int:
    return client.http.put(location, params={"digest": digest}, content=content).status_code


def has(client: Client, digest: str = DIGEST, on: str | None = None) -> bool:
    return client.head(f"blobs/{digest}", on=on).status_code == 200


def in_pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 30_000):
        yield content[start : start + 30_000]


def half_a_request(server: Server, client: Client, method: str, target: str, body: bytes, *, is_chunked: bool) -> None:
    """Send the head of a request and a part of its body, then drop the connection."""
    assert client.account is not None
    credentials = base64.b64encode(f"{client.account.name}:{client.account.password}".encode()).decode()
    length = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {len(body) * 2}"
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: {server.host}\r\nAuthorization: Basic {credentials}\r\n{length}\r\n\r\n"
    )
    framed = f"{len(body):x}\r\n".encode() + body + b"\r\n" if is_chunked else body
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode() + framed)


def test_a_blob_in_one_request_in_a_stream_and_in_chunks(alice: Client) -> None:
    assert alice.push_blob(CONTENT).status_code == 201
    ways: list[Callable[[str], int]] = [
        lambda at: finish(alice, at, CONTENT),
        lambda at: (append(alice, at, CONTENT), finish(alice, at))[1],
        lambda at: (append(alice, at, CONTENT[:9], 0), append(alice, at, CONTENT[9:], 9), finish(alice, at))[2],
        lambda at: (append(alice, at, CONTENT[:9], 0), finish(alice, at, CONTENT[9:]))[1],
        lambda at: alice.http.put(at, params={"digest": DIGEST}, content=in_pieces(CONTENT)).status_code,
    ]
    for way in ways:
        alice.delete(f"blobs/{DIGEST}")
        assert not has(alice)
        location = begin(alice)
        assert way(location) == 201
        assert alice.get(f"blobs/{DIGEST}").content == CONTENT
        assert refusal(alice.http.get(location)) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_the_answer_to_a_push_says_where_the_blob_is(alice: Client, repository: str) -> None:
    answer = alice.push_blob(CONTENT)
    assert answer.headers["location"] == f"/v2/{repository}/blobs/{DIGEST}"
    assert answer.headers["docker-content-digest"] == DIGEST


def test_a_blob_by_sha512(alice: Client) -> None:
    digest = str(Digest.of(CONTENT, "sha512"))
    assert alice.push_blob(CONTENT, digest=digest).status_code == 201
    answer = alice.get(f"blobs/{digest}")
    assert (answer.content, answer.headers["docker-content-digest"]) == (CONTENT, digest)
    location = begin(alice)
    assert append(alice, location, CONTENT) == 202
    assert finish(alice, location, digest=digest) == 201


def test_a_wrong_digest_is_refused_and_leaves_nothing(alice: Client, server: Server) -> None:
    other = secrets.token_bytes(50_000)
    answer = alice.push_blob(other, digest=digest_of(b"wrong"))
    assert refusal(answer) == (400, "DIGEST_INVALID")
    location = begin(alice)
    assert append(alice, location, other) == 202
    assert finish(alice, location, digest=digest_of(b"another")) == 400
    assert refusal(alice.http.get(location)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert not has(alice, digest_of(other))
    check = subprocess.run([PORTOLAN, "storage", "check"], env=server.environment, capture_output=True, check=False)
    assert check.returncode == 0, check.stdout


@pytest.mark.parametrize("query", ["", "digest=", "digest=sha256:x", "digest=md5:00", "digest=a&digest=b"])
def test_finishing_without_a_digest_is_refused_and_keeps_the_upload(alice: Client, query: str) -> None:
    location = begin(alice)
    append(alice, location, CONTENT)
    assert refusal(alice.http.put(f"{location}?{query}")) == (400, "DIGEST_INVALID")
    assert finish(alice, location) == 201


def test_a_chunk_out_of_order_is_told_where_to_go_on(alice: Client) -> None:
    location = begin(alice)
    assert append(alice, location, CONTENT[:100], 0) == 202
    for at in (0, 50, 101):
        answer = alice.http.patch(location, content=CONTENT[at : at + 10], headers={"content-range": f"{at}-{at + 9}"})
        assert answer.status_code == 416
        assert answer.headers["range"] == "0-99"
        assert answer.headers["location"] == location
    assert append(alice, location, CONTENT[100:], 100) == 202
    assert finish(alice, location) == 201


@pytest.mark.parametrize("header", ["x", "5-1", "0-", "bytes */9"])
def test_a_content_range_that_is_none_is_refused(alice: Client, header: str) -> None:
    answer = alice.http.patch(begin(alice), content=b"abc", headers={"content-range": header})
    assert refusal(answer) == (400, "BLOB_UPLOAD_INVALID")


def test_a_content_range_that_belies_the_length_is_refused(alice: Client) -> None:
    answer = alice.http.patch(begin(alice), content=b"abc", headers={"content-range": "0-9"})
    assert refusal(answer) == (400, "SIZE_INVALID")


def test_of_two_chunks_at_once_one_is_refused(alice: Client, server: Server, clients: Callable[..., Client]) -> None:
    location = begin(alice)
    is_refused = threading.Event()

    def slow() -> Iterator[bytes]:
        yield CONTENT[:50_000]
        assert is_refused.wait(30)
        yield CONTENT[50_000:]

    with ThreadPoolExecutor(1) as pool, psycopg.connect(server.database_url, autocommit=True) as database:
        first = pool.submit(lambda: alice.http.patch(location, content=slow()).status_code)
        wait_until(lambda: is_being_written(database, location), what="the first chunk is being written")
        second = append(clients(ALICE), location, b"another writer's bytes")
        is_refused.set()
        assert (first.result(), second) == (202, 409)
    assert finish(alice, location) == 201


def was_cut_off(server: Server, location: str) -> bool:
    """Whether a PUT of the upload has ended, without an answer that anyone could get."""
    lines = server.log_path.read_text(errors="replace").splitlines()
    return any('"method":"PUT"' in line and location in line and '"status":400' in line for line in lines)


def is_being_written(database: psycopg.Connection[tuple[bool]], location: str) -> bool:
    token = location.rpartition("/")[2]
    row = database.execute("SELECT writer <> '' FROM content_upload WHERE token = %s", [token]).fetchone()
    return bool(row and row[0])


def test_two_requests_that_finish_one_upload_cannot_harm_its_blob(
    alice: Client, clients: Callable[..., Client]
) -> None:
    others = [clients(ALICE) for _ in range(4)]
    for _ in range(5):
        content = secrets.token_bytes(50_000)
        location = begin(alice)
        assert append(alice, location, content) == 202
        with ThreadPoolExecutor(len(others)) as pool:
            wanted = [digest_of(content) if number else digest_of(b"another") for number in range(len(others))]
            codes = list(pool.map(lambda who, digest, at=location: finish(who, at, digest=digest), others, wanted))
        assert set(codes) <= {201, 400, 404, 409}
        if 201 in codes[1:]:
            assert alice.get(f"blobs/{digest_of(content)}").content == content
        assert refusal(alice.http.get(location)) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_an_upload_goes_on_after_the_connection_was_lost(alice: Client, server: Server) -> None:
    for is_chunked in (False, True):
        location = begin(alice)
        half_a_request(server, alice, "PATCH", location, CONTENT[:40_000], is_chunked=is_chunked)
        wait_until(lambda at=location: offset(alice, at) == 40_000, what="what arrived is known")  # type: ignore[misc]
        wait_until(
            lambda at=location: append(alice, at, CONTENT[40_000:], 40_000) == 202,  # type: ignore[misc]
            what="the upload goes on",
        )
        assert finish(alice, location) == 201


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_cut_off_last_request_never_completes_an_upload(alice: Client, server: Server, is_chunked: bool) -> None:
    part = secrets.token_bytes(30_000)
    location = begin(alice)
    target = f"{location}?digest={digest_of(part)}"
    half_a_request(server, alice, "PUT", target, part, is_chunked=is_chunked)

    def send_again() -> int:
        return alice.http.put(location, params={"digest": digest_of(part)}, content=part).status_code

    wait_until(lambda: was_cut_off(server, location), what="the registry knows that the connection is gone")
    assert not has(alice, digest_of(part))
    assert offset(alice, location) == 0
    assert send_again() == 201


def test_a_cancelled_upload_is_gone(alice: Client) -> None:
    location = begin(alice)
    append(alice, location, CONTENT)
    assert alice.http.delete(location).status_code == 204
    assert refusal(alice.http.get(location)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert refusal(alice.http.delete(location)) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_an_upload_belongs_to_its_repository_and_its_subject(alice: Client, clients: Callable[..., Client]) -> None:
    location = begin(alice)
    token = location.rpartition("/")[2]
    assert len(token) >= 40
    foreign = f"/v2/{elsewhere()}/blobs/uploads/{token}"
    for client, path in ((alice, foreign), (clients(DORA), location)):
        for method in ("GET", "PATCH", "DELETE"):
            assert refusal(client.http.request(method, path)) == (404, "BLOB_UPLOAD_UNKNOWN")
        answer = client.http.put(path, params={"digest": digest_of(b"")})
        assert refusal(answer) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert alice.http.get(location).status_code == 204


def test_a_blob_is_mounted_from_where_the_caller_may_pull(alice: Client, repository: str) -> None:
    target = elsewhere()
    alice.push_blob(CONTENT)
    answer = alice.start_upload(on=target, mount=DIGEST, **{"from": repository})
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v2/{target}/blobs/{DIGEST}"
    assert alice.get(f"blobs/{DIGEST}", on=target).content == CONTENT


def test_mounting_without_the_right_to_pull_is_as_if_there_were_no_such_blob(
    alice: Client, clients: Callable[..., Client], repository: str
) -> None:
    alice.push_blob(CONTENT)
    olga, target = clients(OLGA), elsewhere("foreign")
    answers = [
        olga.start_upload(on=target, mount=digest, **{"from": source})
        for digest, source in [
            (DIGEST, repository),
            (digest_of(b"nowhere"), repository),
            (DIGEST, "nowhere/at-all"),
            (DIGEST, "../no name"),
        ]
    ]
    answers.append(olga.start_upload(on=target, mount=DIGEST))
    assert [answer.status_code for answer in answers] == [202] * 5
    assert len({tuple(sorted(answer.headers)) for answer in answers}) == 1
    assert not has(olga, on=target)


def test_mounting_with_a_malformed_digest_is_refused(alice: Client) -> None:
    assert refusal(alice.start_upload(mount="sha256:x")) == (400, "DIGEST_INVALID")


def test_who_may_only_pull_may_not_push(alice: Client, clients: Callable[..., Client], repository: str) -> None:
    answer = clients(GUS, repository).start_upload()
    assert refusal(answer) == (403, "DENIED")
    assert "pull" in json.dumps(answer.json())


def test_pushing_to_no_project_says_how_to_have_one(alice: Client) -> None:
    answer = alice.start_upload(on=f"none{secrets.token_hex(4)}/app")
    assert refusal(answer) == (403, "DENIED")
    assert "POST /api/v2.0/projects" in answer.json()["errors"][0]["message"]


def test_a_quota_is_exact_to_the_byte_and_what_is_deleted_makes_room(
    server: Server, sysadmin: Client, unique: str
) -> None:
    server.manage(
        "from django.db import transaction\nfrom projects.services import create_project\n"
        "from registry_core.access import of_system\nfrom registry_core.content import quota\n"
        f"project = create_project(name={unique!r}, is_public=False, cause=of_system('test'))\n"
        "with transaction.atomic():\n    quota.set_limit(project_id=project.pk, limit_bytes=10_000)"
    )
    sysadmin.repository = f"{unique}/app"
    first, rest, more = (secrets.token_bytes(size) for size in (6_000, 4_000, 4_001))
    assert sysadmin.push_blob(first).status_code == 201
    answer = sysadmin.push_blob(more)
    assert (answer.status_code, error_code(answer)) == (403, "DENIED")
    assert "quota of 10000 bytes" in answer.json()["errors"][0]["message"]
    assert not has(sysadmin, digest_of(more))
    check = subprocess.run([PORTOLAN, "storage", "check"], env=server.environment, capture_output=True, check=False)
    assert check.returncode == 0, f"bytes without a blob stay: {check.stdout!r}"
    assert sysadmin.push_blob(rest).status_code == 201
    assert sysadmin.push_blob(first).status_code == 201
    assert refusal(sysadmin.push_blob(b"x")) == (403, "DENIED")
    assert sysadmin.delete(f"blobs/{digest_of(rest)}").status_code == 202
    assert refusal(sysadmin.push_blob(more)) == (403, "DENIED")
    assert sysadmin.push_blob(rest).status_code == 201


def test_an_early_refusal_of_a_large_body_says_that_the_connection_ends(clients: Callable[..., Client]) -> None:
    client = clients(ALICE, elsewhere())
    path = f"/v2/{client.repository}/blobs/uploads/?digest=sha256:no"

    refused = client.http.post(path, content=CONTENT)
    assert error_code(refused) == "DIGEST_INVALID"
    assert "connection" not in refused.headers

    refused = client.http.post(path, content=bytes(2 << 20))
    assert error_code(refused) == "DIGEST_INVALID"
    assert refused.headers["connection"] == "close"
    assert client.start_upload().status_code == 202


def test_asking_for_an_unknown_upload_makes_no_repository(clients: Callable[..., Client]) -> None:
    client = clients(ALICE, elsewhere())

    unknown = client.http.get(f"/v2/{client.repository}/blobs/uploads/{secrets.token_urlsafe(32)}")

    assert (unknown.status_code, error_code(unknown)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert error_code(client.http.get(f"/v2/{client.repository}/tags/list")) == "NAME_UNKNOWN"


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_digest_may_be_given_twice_and_must_be_the_same(alice: Client, method: str) -> None:
    content = b"digest given twice"
    for second, expected in ((b"another", 400), (content, 201)):
        path = alice.path("blobs/uploads/") if method == "POST" else alice.start_upload().headers["location"]
        params = {"digest": [digest_of(content), digest_of(second)]}
        answer = alice.http.request(method, path, params=params, content=content)
        assert answer.status_code == expected
        assert expected == 201 or error_code(answer) == "DIGEST_INVALID"
