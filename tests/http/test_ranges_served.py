"""Ranges of a blob as a client gets them: one, several in one answer, from files and through a relay."""

from __future__ import annotations

import email
import os
import secrets
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry_core.distribution.multipart import GAP_BYTES, multipart
from registry_core.distribution.ranges import RANGES_MAX, Range
from registry_core.http.relays import PIPE_BYTES
from registry_core.storage.interface import StorageError
from tests.support.people import admin, create_project
from tests.support.registry import digest_of, push_blob, sign_in
from tests.support.server import Server

SIZE = 6 << 20
CONTENT = secrets.token_bytes(SIZE)
FEW = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Blob:
    """The blob CONTENT on a server."""

    def __init__(self, client: httpx.Client, path: str) -> None:
        self.client, self.path = client, path

    def get(self, headers: dict[str, str]) -> httpx.Response:
        return self.client.get(self.path, headers=headers)


@pytest.fixture(scope="module")
def blob(server: Server) -> Iterator[Blob]:
    project = f"t{secrets.token_hex(4)}"
    create_project(server, project)
    headers = sign_in(server, admin(server), f"repository:{project}/a:pull,push")
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        push_blob(client, f"{project}/a", CONTENT)
        yield Blob(client, f"/v2/{project}/a/blobs/{digest_of(CONTENT)}")


def parts_of(answer: httpx.Response) -> list[tuple[Range, bytes]]:
    """The parts of a multipart answer, by somebody else's parser."""
    raw = b"Content-Type: " + answer.headers["content-type"].encode() + b"\r\n\r\n" + answer.content
    message = email.message_from_bytes(raw)
    assert message.get_content_type() == "multipart/byteranges"
    boundary = str(message.get_boundary()).encode()
    found = []
    for piece in answer.content.split(b"--" + boundary)[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().strip().split("\r\n"))
        assert fields["Content-Type"] == "application/octet-stream"
        unit, _, rest = fields["Content-Range"].partition(" ")
        span, _, whole = rest.partition("/")
        assert (unit, whole) == ("bytes", str(SIZE))
        first, last = map(int, span.split("-"))
        found.append(((first, last), content.removesuffix(b"\r\n") if content.endswith(b"\r\n") else content))
    assert answer.content.endswith(b"\r\n--" + boundary + b"--\r\n")
    return found


def asked(blob: Blob, ranges: list[Range], **headers: str) -> httpx.Response:
    text = ",".join(f"{first}-{last}" for first, last in ranges)
    return blob.get({"range": f"bytes={text}"} | headers)


def check(answer: httpx.Response, ranges: list[Range]) -> None:
    assert answer.status_code == 206
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert "content-range" not in answer.headers
    assert answer.headers["etag"] == f'"{digest_of(CONTENT)}"'
    parts = parts_of(answer)
    assert [part for part, _ in parts] == ranges
    for (first, last), content in parts:
        assert content[: last - first + 1] == CONTENT[first : last + 1]


@given(st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 5000)), min_size=2, max_size=10))
@FEW
def test_several_ranges_come_in_one_answer_in_their_order(blob: Blob, drawn: list[tuple[int, int]]) -> None:
    ranges: list[Range] = []
    for first, length in drawn:
        last = min(first + length - 1, SIZE - 1)
        if all(last < begin or end < first for begin, end in ranges):
            ranges.append((first, last))
    if len(ranges) > 1:
        check(asked(blob, ranges), ranges)


def test_large_ranges_pass_through_without_being_held(blob: Blob) -> None:
    ranges = [(0, PIPE_BYTES), (2 * PIPE_BYTES, 4 * PIPE_BYTES), (SIZE - 3, SIZE - 1)]
    check(asked(blob, ranges), ranges)


def test_as_many_ranges_as_podman_asks_for(blob: Blob) -> None:
    ranges = [(place * 5000, place * 5000 + 99) for place in range(RANGES_MAX)]
    answer = asked(blob, ranges)
    check(answer, ranges)
    assert len(answer.content) < 400 * RANGES_MAX


def test_what_is_asked_for_twice_is_sent_once(blob: Blob) -> None:
    """However often it is: nobody gets more out of a request than there is."""
    answer = asked(blob, [(0, SIZE - 1)] * 200)
    assert answer.headers["content-range"] == f"bytes 0-{SIZE - 1}/{SIZE}"
    assert answer.content == CONTENT
    check(asked(blob, [(0, 99), (500, 599), (50, 149)]), [(0, 149), (500, 599)])


def test_ranges_beside_what_is_there(blob: Blob) -> None:
    one = asked(blob, [(SIZE, SIZE + 10), (5, 9)])
    assert (one.status_code, one.headers["content-range"], one.content) == (206, f"bytes 5-9/{SIZE}", CONTENT[5:10])
    none = asked(blob, [(SIZE, SIZE + 10), (SIZE + 20, SIZE + 30)])
    assert (none.status_code, none.headers["content-range"]) == (416, f"bytes */{SIZE}")
    check(blob.get({"range": "bytes=-10, 0-9"}), [(SIZE - 10, SIZE - 1), (0, 9)])


def test_the_whole_comes_where_ranges_do_not_count(blob: Blob) -> None:
    many = [(place * 2, place * 2) for place in range(RANGES_MAX + 1)]
    for answer in (
        asked(blob, many),
        asked(blob, [(0, 1), (5, 6)], **{"if-range": '"another"'}),
        blob.get({"range": "bytes=0-1,x"}),
        blob.get({"range": "pages=0-1,3-4"}),
    ):
        assert answer.status_code == 200
        assert answer.content == CONTENT
    check(asked(blob, [(0, 1), (5, 6)], **{"if-range": f'"{digest_of(CONTENT)}"'}), [(0, 1), (5, 6)])
    head = blob.client.head(blob.path, headers={"range": "bytes=0-1,5-6"})
    assert (head.status_code, head.headers["content-length"]) == (200, str(SIZE))


# --- the body itself -------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 300_000), st.integers(0, 300_000)), min_size=1, max_size=8),
    st.integers(1, 100_000),
)
@settings(max_examples=60, deadline=None)
def test_a_body_of_ranges_is_what_its_length_says(drawn: list[tuple[int, int]], chunk: int) -> None:
    content = os.urandom(300_001)
    ranges = [(min(ends), max(ends)) for ends in drawn]
    reads: list[Range] = []

    def read(start: int, end: int) -> Iterator[bytes]:
        reads.append((start, end))
        for position in range(start, end, chunk):
            yield content[position : min(end, position + chunk)]

    headers, relay = multipart(ranges, len(content), "text/plain", read)
    body = b"".join(relay.chunks)
    assert len(body) == relay.length_bytes == int(dict(headers)["content-length"])
    position = 0
    for first, last in ranges:
        begin = body.index(f"Content-Range: bytes {first}-{last}/300001\r\n\r\n".encode(), position)
        begin = body.index(b"\r\n\r\n", begin) + 4
        assert body[begin : begin + last - first + 1] == content[first : last + 1]
        position = begin + last - first + 1
    assert all(
        end - start <= sum(last - first + 1 for first, last in ranges) + GAP_BYTES * len(ranges) for start, end in reads
    )


def test_an_object_that_is_shorter_than_it_should_be_breaks_off() -> None:
    _, relay = multipart([(0, 9), (20, 29)], 100, "text/plain", lambda start, end: iter([b"x" * 15]))
    with pytest.raises(StorageError):
        list(relay.chunks)
