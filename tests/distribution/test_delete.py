"""Deleting: gone at once, wherever it was remembered, and never what something living needs."""

from __future__ import annotations

from collections.abc import Callable

from registry_core.content.parsing import OCI_INDEX
from tests.distribution.client import Client, digest_of, index, refusal
from tests.distribution.conftest import DORA

LAYER = b"a layer"


def test_a_deleted_tag_leaves_its_manifest(alice: Client) -> None:
    manifest = alice.push_image(tag="v1")
    assert alice.get("manifests/v1").status_code == 200
    assert alice.delete("manifests/v1").status_code == 202
    assert refusal(alice.get("manifests/v1")) == (404, "MANIFEST_UNKNOWN")
    assert refusal(alice.delete("manifests/v1")) == (404, "MANIFEST_UNKNOWN")
    assert alice.get("tags/list").json()["tags"] == []
    assert alice.get(f"manifests/{digest_of(manifest)}").status_code == 200


def test_a_deleted_manifest_is_gone_at_once_with_its_tags_and_blobs(alice: Client) -> None:
    digest = digest_of(alice.push_image(LAYER, tag="v1"))
    paths = ["manifests/v1", f"manifests/{digest}", f"blobs/{digest_of(LAYER)}"]
    for _ in range(3):
        assert [alice.get(path).status_code for path in paths] == [200] * 3
    assert alice.delete(f"manifests/{digest}").status_code == 202
    for _ in range(3):
        assert [alice.get(path).status_code for path in paths] == [404] * 3
        assert [alice.head(path).status_code for path in paths] == [404] * 3
    assert refusal(alice.delete(f"manifests/{digest}")) == (404, "MANIFEST_UNKNOWN")


def test_pulling_elsewhere_does_not_bring_back_what_was_deleted(alice: Client, repository: str) -> None:
    digest = digest_of(LAYER)
    other = f"{repository}-other"
    for name in (repository, other):
        alice.push_blob(LAYER, on=name)
        assert alice.get(f"blobs/{digest}", on=name).status_code == 200
    assert alice.delete(f"blobs/{digest}").status_code == 202
    assert alice.get(f"blobs/{digest}", on=other).status_code == 200
    assert refusal(alice.get(f"blobs/{digest}")) == (404, "BLOB_UNKNOWN")
    assert refusal(alice.delete(f"blobs/{digest}")) == (404, "BLOB_UNKNOWN")


def test_what_was_deleted_can_be_pushed_again(alice: Client) -> None:
    manifest = alice.push_image(LAYER, tag="v1")
    alice.delete(f"manifests/{digest_of(manifest)}")
    assert alice.push_blob(LAYER).status_code == 201
    assert alice.put_manifest(manifest, "v1").status_code == 201
    assert alice.get("manifests/v1").content == manifest


def test_the_child_of_a_living_index_stays_and_the_answer_names_the_index(alice: Client) -> None:
    child = alice.push_image()
    parent = index(child)
    alice.put_manifest(parent, "multi", content_type=OCI_INDEX)
    answer = alice.delete(f"manifests/{digest_of(child)}")
    assert refusal(answer) == (409, "DENIED")
    error = answer.json()["errors"][0]
    assert digest_of(parent) in error["message"]
    assert error["detail"] == {"index": digest_of(parent)}
    assert alice.delete(f"manifests/{digest_of(parent)}").status_code == 202
    assert alice.delete(f"manifests/{digest_of(child)}").status_code == 202


def test_a_blob_in_use_stays_and_the_answer_names_its_manifest(alice: Client) -> None:
    manifest = alice.push_image(LAYER)
    answer = alice.delete(f"blobs/{digest_of(LAYER)}")
    assert refusal(answer) == (409, "DENIED")
    assert digest_of(manifest) in answer.json()["errors"][0]["message"]
    assert alice.get(f"blobs/{digest_of(LAYER)}").content == LAYER


def test_who_may_push_may_not_delete(alice: Client, clients: Callable[..., Client], repository: str) -> None:
    digest = digest_of(alice.push_image(LAYER, tag="v1"))
    dora = clients(DORA, repository)
    for path in ("manifests/v1", f"manifests/{digest}", f"blobs/{digest_of(LAYER)}"):
        assert refusal(dora.delete(path)) == (403, "DENIED")
    assert dora.get("manifests/v1").status_code == 200
