"""A blob whose object is gone, cut short, or in a store that is not configured: said in words, and healed by a push."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import pytest

from tests.conftest import ServerFactory
from tests.faults.test_sweep import storage
from tests.support.minio import Minio
from tests.support.people import admin
from tests.support.registry import MANIFEST_TYPE, Image, digest_of, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server
from tests.support.waiting import wait_until

REPOSITORY = "library/lost"
OTHER = "library/other"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


@dataclass
class Depot:
    """A server, and what it takes to lose one of its objects behind its back."""

    server: Server
    lose: Callable[[bytes], None]
    cut: Callable[[bytes], None]

    def client(self, actions: str = "pull,push", *repositories: str) -> httpx.Client:
        scopes = [f"repository:{repository}:{actions}" for repository in repositories or (REPOSITORY,)]
        return httpx.Client(base_url=self.server.url, headers=sign_in(self.server, admin(self.server), *scopes))

    def log_lines(self, digest: str) -> list[dict[str, object]]:
        text = self.server.log_path.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in text if digest in line and line.startswith("{")]

    def statuses(self, digest: str) -> set[object]:
        """Of the pulls of this blob, by the access log."""
        return {line["status"] for line in self.log_lines(digest) if line.get("action") == "blob.pull"}


def _key(server: Server, content: bytes) -> str:
    found = server.manage(
        "from registry_core.content.models import Blob\nfrom registry_core.digests import Digest\n"
        f"print(Blob.objects.get(digest=Digest.parse({digest_of(content)!r}).raw).storage_key)"
    )
    return found.strip()


@pytest.fixture(scope="module")
def on_files(start_server: ServerFactory) -> Depot:
    server = start_server()

    def lose(content: bytes) -> None:
        (server.data / "objects" / _key(server, content)).unlink()

    def cut(content: bytes) -> None:
        path = server.data / "objects" / _key(server, content)
        path.write_bytes(content[:-1])

    return Depot(server, lose, cut)


def _on_s3(start_server: ServerFactory, minio: Minio, **settings: object) -> Depot:
    environment = minio.environment(**settings)
    server, bucket = start_server(**environment), environment["PORTOLAN_S3_BUCKET"]

    def lose(content: bytes) -> None:
        minio.client().delete_object(Bucket=bucket, Key=f"objects/{_key(server, content)}")

    def cut(content: bytes) -> None:
        minio.client().put_object(Bucket=bucket, Key=f"objects/{_key(server, content)}", Body=content[:-1])

    return Depot(server, lose, cut)


@pytest.fixture(scope="module")
def on_s3_redirecting(start_server: ServerFactory, minio: Minio) -> Depot:
    return _on_s3(start_server, minio, s3_redirect_ttl_s=60)


@pytest.fixture(scope="module")
def on_s3_relayed(start_server: ServerFactory, minio: Minio) -> Depot:
    return _on_s3(start_server, minio, s3_redirect=False)


@pytest.fixture(params=["files", "s3_redirecting", "s3_relayed"])
def depot(request: pytest.FixtureRequest) -> Depot:
    found: Depot = request.getfixturevalue(f"on_{request.param}")
    return found


def _is_lost(client: httpx.Client, url: str) -> bool:
    """Whether GET and HEAD both say that the blob is lost, GET in words."""
    answers = client.get(url), client.head(url), client.get(url, headers={"range": "bytes=0-1"})
    if {answer.status_code for answer in answers} != {404}:
        return False
    (error,) = answers[0].json()["errors"]
    return error["code"] == "BLOB_UNKNOWN" and "push it again" in error["message"]


@pytest.mark.parametrize("is_short", [True, False])
@pytest.mark.parametrize("harm", ["lose", "cut"])
def test_a_lost_object_is_said_logged_and_healed_by_a_push(depot: Depot, harm: str, is_short: bool) -> None:
    content = secrets.token_bytes(5000 if is_short else 700_000)
    with depot.client() as client:
        digest = push_blob(client, REPOSITORY, content, pieces=1 if is_short else 2)
        url = f"/v2/{REPOSITORY}/blobs/{digest}"
        getattr(depot, harm)(content)

        assert _is_lost(client, url)
        wait_until(lambda: depot.statuses(digest) == {404}, what="the access log has the pulls")
        lost = [line for line in depot.log_lines(digest) if "object is lost" in str(line["event"])]
        assert {line["level"] for line in lost} == {"error"}

        assert push_blob(client, REPOSITORY, content, pieces=1 if is_short else 2) == digest
        assert client.get(url, follow_redirects=True).content == content
        assert client.head(url).status_code == 200


def test_an_answer_that_is_remembered_is_not_given_of_an_object_that_is_gone(depot: Depot) -> None:
    content = secrets.token_bytes(5000)
    with depot.client() as client:
        url = f"/v2/{REPOSITORY}/blobs/{push_blob(client, REPOSITORY, content)}"
        for _ in range(8):  # each worker remembers it
            with depot.client("pull") as other:
                assert {other.get(url).status_code, other.head(url).status_code} <= {200, 307}
        depot.lose(content)
        # A redirect is given for a quarter of its URL's life without a look: 15 s here.
        within_s = 40 if "PORTOLAN_STORAGE" in depot.server.environment else 5
        wait_until(lambda: _is_lost(client, url), what="the loss is noticed", within_s=within_s)


def test_a_lost_blob_is_not_mounted_and_so_pushed(depot: Depot) -> None:
    content = secrets.token_bytes(5000)
    with depot.client("pull,push", REPOSITORY, OTHER) as client:
        digest = push_blob(client, REPOSITORY, content)
        mount = f"/v2/{OTHER}/blobs/uploads/?mount={digest}&from={REPOSITORY}"
        depot.lose(content)
        assert client.post(mount).status_code == 202
        push_blob(client, OTHER, content)
        assert client.post(mount).status_code == 201
        assert client.get(f"/v2/{REPOSITORY}/blobs/{digest}", follow_redirects=True).content == content


def _push(client: httpx.Client, tag: str, image: Image) -> None:
    for blob in image.blobs:
        push_blob(client, REPOSITORY, blob)
    put_manifest(client, REPOSITORY, tag, image)


def test_who_may_push_is_not_told_that_a_manifest_is_there_whose_blob_is_lost(depot: Depot) -> None:
    image, tag = make_image(layer_bytes=5000), secrets.token_hex(4)
    manifest = {"mediaType": MANIFEST_TYPE, "digest": image.digest, "size": len(image.manifest)}
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [manifest]}).encode()
    urls = [f"/v2/{REPOSITORY}/manifests/{reference}" for reference in (tag, image.digest, f"{tag}-index")]
    with depot.client() as pusher, depot.client("pull") as puller:
        _push(pusher, tag, image)
        pusher.put(urls[2], content=index, headers={"content-type": INDEX_TYPE}).raise_for_status()
        assert [pusher.head(url).status_code for url in urls] == [200, 200, 200]

        depot.lose(image.blobs[1])

        assert [pusher.head(url).status_code for url in urls] == [404, 404, 404]
        assert [puller.head(url).status_code for url in urls] == [200, 200, 200], "a part of it may do"
        assert [pusher.get(url).status_code for url in urls] == [200, 200, 200]
        assert f"quarantined {digest_of(image.blobs[1])}" in storage(depot.server, "check", "--repair").stdout
        assert [pusher.head(url).status_code for url in urls] == [404, 404, 404], "quarantined now"
        _push(pusher, tag, image)
        assert [pusher.head(url).status_code for url in urls] == [200, 200, 200]


def test_a_folder_that_is_not_mounted_is_no_lost_blob(on_files: Depot) -> None:
    content = secrets.token_bytes(5000)
    with on_files.client() as client:
        url = f"/v2/{REPOSITORY}/blobs/{push_blob(client, REPOSITORY, content)}"
        objects = on_files.server.data / "objects"
        objects.rename(objects.with_name("away"))
        try:
            answers = [client.get(url), client.head(url)]
        finally:
            objects.with_name("away").rename(objects)
        assert [answer.status_code for answer in answers] == [503, 503]
        assert "mounted" in answers[0].json()["errors"][0]["message"]
        assert client.get(url).content == content


def test_blobs_in_a_store_that_is_no_longer_configured(start_server: ServerFactory, minio: Minio) -> None:
    server = start_server(**minio.environment())
    depot = Depot(server, _nothing, _nothing)
    image = make_image(layer_bytes=5000)
    with depot.client() as client:
        _push(client, "old", image)
        begun = client.post(f"/v2/{REPOSITORY}/blobs/uploads/").raise_for_status().headers["location"]
        client.patch(begun, content=b"half").raise_for_status()
        for name in [name for name in server.environment if name.startswith(("PORTOLAN_S3", "PORTOLAN_STORAGE"))]:
            del server.environment[name]
        server.restart()
    with depot.client() as client:
        url = f"/v2/{REPOSITORY}/blobs/{digest_of(image.blobs[0])}"
        answers = [client.get(url), client.head(url), client.patch(begun, content=b"more"), client.delete(begun)]
        assert [answer.status_code for answer in answers] == [503, 503, 503, 503]
        for answer in (answers[0], answers[2]):
            assert "PORTOLAN_S3_BUCKET" in answer.json()["errors"][0]["message"]
        addition = f"/api/v2.0/projects/library/repositories/lost/artifacts/{image.digest}/additions/build_history"
        account = admin(server)
        answered = httpx.get(server.url + addition, auth=(account.name, account.password))
        assert (answered.status_code, "PORTOLAN_S3_BUCKET" in answered.text) == (503, True)

        checked = storage(server, "check")
        assert (checked.returncode, "2 blobs in the store s3, which is not configured" in checked.stdout) == (1, True)
        assert "2 blobs are in a store that is not configured" in storage(server, "scrub", "--from-start").stdout
        assert storage(server, "sweep", "--idle=0").stdout == "removed 1 uploads and 0 objects without a row\n"

        assert client.head(f"/v2/{REPOSITORY}/manifests/old").status_code == 404
        _push(client, "old", image)
        assert client.get(url).content == image.blobs[0]
        assert client.head(f"/v2/{REPOSITORY}/manifests/old").status_code == 200
        assert storage(server, "check").returncode == 0
    assert "failed unexpectedly" not in server.log_path.read_text()


def _nothing(_content: bytes) -> None:
    raise AssertionError("not in this store")
