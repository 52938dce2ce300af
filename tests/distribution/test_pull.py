"""Pulling: blobs whole and in parts, manifests by tag and digest, and what the client has already."""

import secrets

import pytest

from registry_core.content.parsing import OCI_MANIFEST
from tests.distribution.client import Client, digest_of, refusal

UNKNOWN = "sha256:" + "0" * 64
CONTENT = bytes(range(256)) * 8
AGAIN = 3  # from the second time on from memory
OF_ITS_TIME = {"x-request-id": "", "date": ""}  # headers in which two answers may differ


@pytest.fixture
def blob(alice: Client) -> str:
    assert alice.push_blob(CONTENT).status_code == 201
    return f"blobs/{digest_of(CONTENT)}"


def test_blob_comes_as_it_was_pushed_with_what_a_client_needs_to_know(alice: Client, blob: str) -> None:
    answer = alice.get(blob)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["docker-content-digest"] == digest_of(CONTENT)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"] == f'"{digest_of(CONTENT)}"'


def test_head_of_a_blob_has_its_length_and_no_body(alice: Client, blob: str) -> None:
    answer = alice.head(blob)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(CONTENT))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [("0-0", CONTENT[:1]), ("10-19", CONTENT[10:20]), ("2000-", CONTENT[2000:]), ("-5", CONTENT[-5:]),
     ("2040-9999", CONTENT[2040:]), ("-9999", CONTENT), ("0-2047", CONTENT)],
)  # fmt: skip
def test_a_range_is_answered_with_that_part(alice: Client, blob: str, wanted: str, expected: bytes) -> None:
    answer = alice.get(blob, headers={"range": f"bytes={wanted}"})
    assert (answer.status_code, answer.content) == (206, expected)
    first = CONTENT.index(expected) if len(expected) > 256 else int(answer.headers["content-range"][6:].split("-")[0])
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(expected) - 1}/{len(CONTENT)}"


@pytest.mark.parametrize("wanted", ["2048-", "9999-10000", "-0", "5-4"])
def test_a_range_outside_of_the_blob_is_not_satisfiable(alice: Client, blob: str, wanted: str) -> None:
    answer = alice.get(blob, headers={"range": f"bytes={wanted}"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"


@pytest.mark.parametrize("header", ["bytes=0-1,x", "bytes=x-y", "lines=0-1,5-6", "bytes=-", "5-9"])
def test_malformed_ranges_give_the_whole(alice: Client, blob: str, header: str) -> None:
    answer = alice.get(blob, headers={"range": header})
    assert (answer.status_code, answer.content) == (200, CONTENT)


def test_if_range_of_another_content_gives_the_whole(alice: Client, blob: str) -> None:
    stale = alice.get(blob, headers={"range": "bytes=0-1", "if-range": f'"{UNKNOWN}"'})
    same = alice.get(blob, headers={"range": "bytes=0-1", "if-range": f'"{digest_of(CONTENT)}"'})
    assert (stale.status_code, same.status_code) == (200, 206)


def test_an_empty_blob_can_be_pulled(alice: Client) -> None:
    assert alice.push_blob(b"").status_code == 201
    for _ in range(AGAIN):
        answer = alice.get(f"blobs/{digest_of(b'')}")
        assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")


def test_a_blob_that_is_pulled_again_is_the_same_in_all_forms_and_gone_when_it_is(alice: Client, blob: str) -> None:
    known = f'"{digest_of(CONTENT)}"'
    first = alice.get(blob)
    for _ in range(AGAIN):
        again, part = alice.get(blob), alice.get(blob, headers={"range": "bytes=1-2"})
        assert (again.status_code, again.content) == (200, CONTENT)
        assert {**again.headers, **OF_ITS_TIME} == {**first.headers, **OF_ITS_TIME}
        assert (part.status_code, part.content) == (206, CONTENT[1:3])
        assert alice.get(blob, headers={"if-none-match": known}).status_code == 304
        head = alice.head(blob)
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(CONTENT)))
    assert alice.http.delete(alice.path(blob)).status_code == 202
    assert refusal(alice.get(blob)) == (404, "BLOB_UNKNOWN")
    assert alice.head(blob).status_code == 404


def test_manifest_by_tag_and_by_digest_is_the_same_bytes(alice: Client) -> None:
    manifest = alice.push_image(tag="v1")
    for reference in ("v1", digest_of(manifest)):
        answer = alice.get(f"manifests/{reference}")
        assert (answer.status_code, answer.content) == (200, manifest)
        assert answer.headers["content-type"] == OCI_MANIFEST
        assert answer.headers["docker-content-digest"] == digest_of(manifest)
        head = alice.head(f"manifests/{reference}")
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(manifest)))
        assert head.headers["docker-content-digest"] == digest_of(manifest)


@pytest.mark.parametrize("form", ['"{}"', 'W/"{}"', '"x", "{}"', "*"])
def test_what_the_client_has_is_not_sent_again(alice: Client, blob: str, form: str) -> None:
    manifest = alice.push_image(tag="v1")
    for path, digest in ((blob, digest_of(CONTENT)), ("manifests/v1", digest_of(manifest))):
        answer = alice.get(path, headers={"if-none-match": form.format(digest)})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == f'"{digest}"'
    assert alice.get(blob, headers={"if-none-match": f'"{UNKNOWN}"'}).status_code == 200


def test_what_is_unknown_is_said_by_its_kind(alice: Client, repository: str) -> None:
    assert refusal(alice.get("manifests/v1")) == (404, "NAME_UNKNOWN")
    alice.push_image()
    assert refusal(alice.get("manifests/v1")) == (404, "MANIFEST_UNKNOWN")
    assert refusal(alice.get(f"manifests/{UNKNOWN}")) == (404, "MANIFEST_UNKNOWN")
    assert refusal(alice.get(f"blobs/{UNKNOWN}")) == (404, "BLOB_UNKNOWN")
    assert alice.head(f"blobs/{UNKNOWN}").status_code == 404


@pytest.mark.parametrize("digest", ["", "sha256:abc", "md5:" + "0" * 32, "sha256:" + "A" * 64, "x"])
def test_what_is_no_digest_is_refused(alice: Client, blob: str, digest: str) -> None:
    assert refusal(alice.get(f"blobs/{digest}")) == (400, "DIGEST_INVALID")


def test_a_blob_is_read_only_through_a_repository_that_links_it(alice: Client, blob: str) -> None:
    elsewhere = f"depot/r{secrets.token_hex(4)}"
    alice.push_image(on=elsewhere)
    assert refusal(alice.get(blob, on=elsewhere)) == (404, "BLOB_UNKNOWN")
    assert alice.head(blob, on=elsewhere).status_code == 404
