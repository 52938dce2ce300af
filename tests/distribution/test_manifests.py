"""Pushing manifests: what is stored byte for byte, what is refused, and under which names."""

from __future__ import annotations

import json
import secrets
import socket
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from registry_core.content.parsing import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from registry_core.digests import Digest
from tests.distribution.client import CONFIG, EMPTY_CONFIG, Client, descriptor, digest_of, image, index, refusal
from tests.distribution.conftest import ALICE
from tests.support.people import PASSWORD
from tests.support.server import Server

LIMIT = 4 << 20


@pytest.fixture
def ready(alice: Client) -> Client:
    """A repository that has the config that every image of these tests refers to."""
    assert alice.push_blob(EMPTY_CONFIG).status_code == 201
    return alice


def message(answer: object) -> str:
    return json.dumps(answer.json()["errors"][0]["message"])  # type: ignore[attr-defined]


def test_unknown_fields_and_odd_white_space_are_kept_byte_for_byte(ready: Client) -> None:
    document = json.loads(image()) | {"x-unknown": {"b": [1.0, 1e5, "\u00fc"], "a": None}}
    content = b"\n\t " + json.dumps(document, indent="\t", separators=(" ,", " : ")).encode() + b"\r\n\n"
    assert ready.put_manifest(content, "odd").status_code == 201
    for reference in ("odd", digest_of(content)):
        assert ready.get(f"manifests/{reference}").content == content


def test_half_a_surrogate_pair_in_what_a_refusal_quotes_is_an_error_of_the_client(ready: Client) -> None:
    answer = ready.put_manifest(image(mediaType="a/\ud800"), "v1")
    assert refusal(answer) == (400, "MANIFEST_INVALID")
    assert "says it is a/?, the Content-Type says" in message(answer)


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", OCI_MANIFEST),
        (b"not json", OCI_MANIFEST),
        (b"\xef\xbb\xbf" + image(), OCI_MANIFEST),
        (image()[:-1] + b',"x":"\xff"}', OCI_MANIFEST),
        (image()[:-1] + b',"schemaVersion":2}', OCI_MANIFEST),
        (image()[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", OCI_MANIFEST),
        (image(), DOCKER_MANIFEST),
        (image(manifests=[]), OCI_MANIFEST),
        (index(config=descriptor(b"")), OCI_INDEX),
        (image(*[EMPTY_CONFIG] * 4097), OCI_MANIFEST),
        (index(*[EMPTY_CONFIG] * 4097), OCI_INDEX),
        (image(subject={}), OCI_MANIFEST),
        (index()[:-2] + json.dumps(descriptor(b"")).encode()[:-1] + b',"platform":{"os":1e999}}]}', OCI_INDEX),
    ],
    ids=["empty", "no-json", "bom", "no-utf8", "key-twice", "deep", "other-type", "both", "both-index",
         "layers", "manifests", "subject", "platform"],
)  # fmt: skip
def test_what_is_ambiguous_or_too_much_is_refused(ready: Client, content: bytes, content_type: str) -> None:
    headers = {"content-type": content_type}
    answer = ready.http.put(ready.path("manifests/v1"), content=content, headers=headers)
    assert refusal(answer) == (400, "MANIFEST_INVALID")
    assert ready.get("manifests/v1").status_code == 404


def test_schema_1_is_refused_with_what_to_do(ready: Client) -> None:
    answer = ready.put_manifest(b"{}", "v1", content_type="application/vnd.docker.distribution.manifest.v1+prettyjws")
    assert refusal(answer) == (400, "MANIFEST_INVALID")
    assert "push the image again" in message(answer)


def of_size(size_bytes: int) -> bytes:
    content = image()
    return content + b" " * (size_bytes - len(content))


def test_the_largest_manifest_is_taken_and_one_byte_more_is_not(ready: Client) -> None:
    assert ready.put_manifest(of_size(LIMIT), "v1").status_code == 201
    assert refusal(ready.put_manifest(of_size(LIMIT + 1), "v2")) == (413, "MANIFEST_INVALID")


def test_a_manifest_too_large_is_refused_when_its_length_is_not_declared(ready: Client) -> None:
    def stream() -> Iterator[bytes]:
        content = of_size(LIMIT + 1)
        for start in range(0, len(content), 1 << 20):
            yield content[start : start + (1 << 20)]

    answer = ready.http.put(ready.path("manifests/v1"), content=stream(), headers={"content-type": OCI_MANIFEST})
    assert refusal(answer) == (413, "MANIFEST_INVALID")


def test_a_declared_length_beyond_the_limit_is_refused_before_any_body(ready: Client, server: Server) -> None:
    credentials = b64encode(f"alice:{PASSWORD}".encode()).decode()
    head = (
        f"PUT {ready.path('manifests/v1')} HTTP/1.1\r\nHost: {server.host}\r\nAuthorization: Basic {credentials}\r\n"
        f"Content-Type: {OCI_MANIFEST}\r\nContent-Length: {10**15}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_manifest_by_a_digest_that_it_has_not_is_refused(ready: Client) -> None:
    answer = ready.put_manifest(image(), digest_of(b"another"))
    assert refusal(answer) == (400, "DIGEST_INVALID")


def test_a_manifest_by_sha512_is_found_by_it(ready: Client) -> None:
    content = image()
    digest = str(Digest.of(content, "sha512"))
    assert ready.put_manifest(content, digest).headers["docker-content-digest"] == digest
    assert ready.get(f"manifests/{digest}").content == content


def test_what_a_manifest_refers_to_must_be_in_its_repository(ready: Client) -> None:
    answer = ready.put_manifest(image(b"missing"), "v1")
    assert refusal(answer) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert digest_of(b"missing") in message(answer)
    assert refusal(ready.put_manifest(index(image()), "v1", content_type=OCI_INDEX)) == (400, "MANIFEST_BLOB_UNKNOWN")


def test_a_project_may_allow_manifests_whose_parts_are_missing(clients: Callable[..., Client]) -> None:
    client = clients(ALICE, f"sparse/r{secrets.token_hex(4)}")
    content = index(image(), image(b"missing"))
    assert client.put_manifest(content, "v1", content_type=OCI_INDEX).status_code == 201
    assert client.put_manifest(image(b"missing"), "v2").status_code == 201
    assert client.get("manifests/v1").content == content


def test_a_foreign_layer_need_not_be_there(ready: Client) -> None:
    foreign = descriptor(b"windows", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", urls=["http://x"])
    assert ready.put_manifest(image(layers=[foreign]), "v1").status_code == 201


def test_a_build_cache_is_an_index_whose_entries_are_blobs(ready: Client) -> None:
    layer = b"cached layer"
    entries = [descriptor(layer), descriptor(b"{}", "application/vnd.buildkit.cacheconfig.v0")]
    content = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    assert refusal(ready.put_manifest(content, "cache", content_type=OCI_INDEX)) == (400, "MANIFEST_BLOB_UNKNOWN")
    ready.push_blob(layer)
    assert ready.put_manifest(content, "cache", content_type=OCI_INDEX).status_code == 201
    assert ready.get("manifests/cache").content == content
    assert refusal(ready.delete(f"blobs/{digest_of(layer)}")) == (409, "DENIED")


def test_one_push_sets_every_tag_that_it_names(ready: Client) -> None:
    content = image()
    answer = ready.put_manifest(content, f"{digest_of(content)}?tag=a&tag=b")
    assert answer.headers.get_list("oci-tag") == ["a", "b"]
    assert ready.put_manifest(content, "c?tag=d").status_code == 201
    assert ready.get("tags/list").json()["tags"] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("tag", ["", "-x", "a/b", "x%00", "y" * 129, "%ff"])
def test_of_a_push_with_a_wrong_tag_nothing_is_left(ready: Client, tag: str) -> None:
    content = image()
    assert refusal(ready.put_manifest(content, f"{digest_of(content)}?tag=good&tag={tag}")) == (400, "MANIFEST_INVALID")
    assert ready.get(f"manifests/{digest_of(content)}").status_code == 404
    assert ready.get("tags/list").json()["tags"] == []


def test_too_many_tags_are_refused(ready: Client) -> None:
    content = image()
    query = "&".join(f"tag=t{number}" for number in range(101))
    assert ready.put_manifest(content, f"{digest_of(content)}?{query}").status_code == 414


def test_a_tag_moves_to_what_was_pushed_last(ready: Client) -> None:
    first, second = image(), image()
    for content in (first, second):
        ready.put_manifest(content, "latest")
        assert ready.get("manifests/latest").content == content
    assert ready.get(f"manifests/{digest_of(first)}").content == first


@pytest.mark.parametrize("reference", ["-x", "x" * 129, "a%20b", "a%00", "sha256:x", "%2e%2e", "a%252Fb"])
def test_a_reference_that_is_none_is_refused(ready: Client, reference: str) -> None:
    for answer in (ready.put_manifest(image(), reference), ready.get(f"manifests/{reference}")):
        assert refusal(answer)[0] in {400, 404}


def test_docker_manifests_keep_their_type(ready: Client) -> None:
    content = image(mediaType=DOCKER_MANIFEST, config=descriptor(EMPTY_CONFIG, CONFIG))
    assert ready.put_manifest(content, "v1", content_type=DOCKER_MANIFEST).status_code == 201
    assert ready.get("manifests/v1").headers["content-type"] == DOCKER_MANIFEST


@pytest.mark.parametrize(
    "content_type",
    [
        "text/html",
        "TEXT/HTML; charset=utf-8",
        "image/svg+xml",
        "application/xhtml+xml",
        "text/javascript",
        "text/plain",
    ],
)
def test_a_manifest_is_not_pushed_as_something_that_a_browser_opens(ready: Client, content_type: str) -> None:
    content = json.dumps({"schemaVersion": 2, "x": "<script>"}).encode()
    answer = ready.put_manifest(content, "latest", content_type=content_type)
    assert refusal(answer) == (400, "MANIFEST_INVALID")
    assert "for example application/vnd.oci.image.manifest.v1+json" in message(answer)
    assert ready.get("manifests/latest").status_code == 404


def test_a_manifest_of_an_unknown_type_is_welcome(ready: Client) -> None:
    content = json.dumps({"x": secrets.token_hex(8)}).encode()
    assert ready.put_manifest(content, "v1", content_type="application/vnd.example.thing+json").status_code == 201
    assert ready.get("manifests/v1").headers["content-type"] == "application/vnd.example.thing+json"


UNTYPED = {"mediaType": None}


def test_the_same_bytes_pushed_as_another_type_stay_what_they_were(ready: Client) -> None:
    content = image(**UNTYPED)
    first = ready.put_manifest(content, "release")
    again = ready.put_manifest(content, "other", content_type="application/vnd.example+json")
    by_digest = ready.put_manifest(content, content_type=DOCKER_MANIFEST)
    assert (first.status_code, again.status_code, by_digest.status_code) == (201, 201, 201)
    assert "warning" not in first.headers
    assert again.headers["warning"] == (
        f'299 - "the repository has this manifest as {OCI_MANIFEST} and keeps it so: '
        'delete it first to push it as application/vnd.example+json"'
    )
    for reference in ("release", "other", digest_of(content)):
        assert ready.get(f"manifests/{reference}").headers["content-type"] == OCI_MANIFEST


def test_the_same_bytes_may_be_of_another_type_in_another_repository_and_after_a_delete(ready: Client) -> None:
    content, elsewhere = image(**UNTYPED), f"depot/r{secrets.token_hex(4)}"
    assert ready.push_blob(EMPTY_CONFIG, on=elsewhere).status_code == 201
    ready.put_manifest(content, "v1")
    ready.put_manifest(content, "v1", on=elsewhere, content_type=DOCKER_MANIFEST)
    assert ready.get("manifests/v1", on=elsewhere).headers["content-type"] == DOCKER_MANIFEST
    assert ready.get("manifests/v1").headers["content-type"] == OCI_MANIFEST
    assert ready.delete(f"manifests/{digest_of(content)}").status_code == 202
    assert "warning" not in ready.put_manifest(content, "v1", content_type=DOCKER_MANIFEST).headers
    assert ready.get("manifests/v1").headers["content-type"] == DOCKER_MANIFEST


def test_of_two_types_at_once_one_stays(ready: Client) -> None:
    types = [OCI_MANIFEST, "application/vnd.example+json"]
    for _ in range(10):
        content = image(**UNTYPED)
        with ThreadPoolExecutor(2) as pool:
            answers = list(
                pool.map(lambda kind, content=content: ready.put_manifest(content, content_type=kind), types)
            )
        assert [answer.status_code for answer in answers] == [201, 201]
        kept = [kind for kind, answer in zip(types, answers, strict=True) if "warning" not in answer.headers]
        assert [ready.get(f"manifests/{digest_of(content)}").headers["content-type"]] == kept


@pytest.mark.parametrize("media_type", ["text/plain; charset=utf-8", "wasm", "application/vnd.x+json;version=0.2"])
def test_what_the_registry_need_not_understand_is_stored_and_found(ready: Client, media_type: str) -> None:
    subject = ready.push_image()
    content = image(
        layers=[descriptor(EMPTY_CONFIG, media_type)],
        artifactType=media_type,
        annotations={"a": None, "b": "c"},
        subject=descriptor(subject, OCI_MANIFEST),
    )
    assert ready.put_manifest(content, "v1").status_code == 201
    assert ready.get("manifests/v1").content == content
    found = ready.get(f"referrers/{digest_of(subject)}", params={"artifactType": media_type}).json()["manifests"]
    assert found == [descriptor(content, OCI_MANIFEST, artifactType=media_type, annotations={"b": "c"})]


@pytest.mark.parametrize("layers", [{}, {"layers": None}])
def test_an_image_may_have_no_layers(ready: Client, layers: dict[str, None]) -> None:
    document = json.loads(image())
    del document["layers"]
    content = json.dumps(document | layers).encode()
    assert ready.put_manifest(content, "v1").status_code == 201
    assert ready.get("manifests/v1").content == content
