"""Referrers: what is about a manifest, whether or not the manifest is there."""

from __future__ import annotations

import secrets

import pytest

from registry_core.content.parsing import OCI_INDEX, OCI_MANIFEST
from tests.distribution.client import EMPTY_CONFIG, Client, descriptor, digest_of, error_code, image, index

UNKNOWN = "sha256:" + "0" * 64


@pytest.fixture
def ready(alice: Client) -> Client:
    assert alice.push_blob(EMPTY_CONFIG).status_code == 201
    return alice


def attach(client: Client, subject: bytes, artifact_type: str = "a/sbom", on: str | None = None) -> bytes:
    more = {"artifactType": artifact_type, "annotations": {"k": artifact_type}, "x-nonce": secrets.token_hex(8)}
    content = image(subject=descriptor(subject, OCI_MANIFEST), **more)
    answer = client.put_manifest(content, on=on)
    assert answer.status_code == 201
    assert answer.headers["oci-subject"] == digest_of(subject)
    return content


def referrers(client: Client, digest: str, query: str = "", on: str | None = None) -> list[str]:
    answer = client.get(f"referrers/{digest}{query}", on=on)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == OCI_INDEX
    document = answer.json()
    assert (document["schemaVersion"], document["mediaType"]) == (2, OCI_INDEX)
    return [entry["digest"] for entry in document["manifests"]]


def test_a_referrer_is_described_with_its_type_and_annotations(ready: Client) -> None:
    subject = ready.push_image()
    content = attach(ready, subject)
    entry = ready.get(f"referrers/{digest_of(subject)}").json()["manifests"]
    expected = descriptor(content, OCI_MANIFEST, artifactType="a/sbom", annotations={"k": "a/sbom"})
    assert entry == [expected]


def test_the_filter_is_applied_and_said_to_be(ready: Client) -> None:
    subject = ready.push_image()
    sbom, signature = (digest_of(attach(ready, subject, kind)) for kind in ("a/sbom", "a/signature+v1"))
    digest = digest_of(subject)
    assert sorted(referrers(ready, digest)) == sorted([sbom, signature])
    assert referrers(ready, digest, "?artifactType=a/sbom") == [sbom]
    assert referrers(ready, digest, "?artifactType=a/signature%2Bv1") == [signature]
    assert referrers(ready, digest, "?artifactType=a/none") == []
    answer = ready.get(f"referrers/{digest}?artifactType=a/sbom")
    assert answer.headers["oci-filters-applied"] == "artifactType"
    assert "oci-filters-applied" not in ready.get(f"referrers/{digest}").headers


def test_without_an_artifact_type_the_config_type_counts(ready: Client) -> None:
    subject = ready.push_image()
    ready.put_manifest(image(subject=descriptor(subject, OCI_MANIFEST), config=descriptor(EMPTY_CONFIG, "a/config")))
    assert len(referrers(ready, digest_of(subject), "?artifactType=a/config")) == 1


def test_of_an_unknown_digest_and_an_unknown_repository_the_list_is_empty(ready: Client) -> None:
    assert referrers(ready, UNKNOWN) == []
    assert referrers(ready, UNKNOWN, on=f"depot/n{secrets.token_hex(4)}") == []


def test_a_digest_that_is_none_is_refused(ready: Client) -> None:
    assert error_code(ready.get("referrers/latest")) == "DIGEST_INVALID"


def test_the_subject_may_come_later_and_go_again(ready: Client) -> None:
    subject = image()
    content = digest_of(attach(ready, subject))
    assert referrers(ready, digest_of(subject)) == [content]
    ready.put_manifest(subject, "v1")
    assert referrers(ready, digest_of(subject)) == [content]
    assert ready.delete(f"manifests/{digest_of(subject)}").status_code == 202
    assert referrers(ready, digest_of(subject)) == []
    assert ready.get(f"manifests/{content}").status_code == 404


def test_a_deleted_referrer_is_not_listed(ready: Client) -> None:
    subject = ready.push_image()
    content = attach(ready, subject)
    assert ready.delete(f"manifests/{digest_of(content)}").status_code == 202
    assert referrers(ready, digest_of(subject)) == []
    assert ready.get(f"manifests/{digest_of(subject)}").status_code == 200


def test_referrers_of_another_repository_are_not_shown(ready: Client) -> None:
    subject = ready.push_image()
    attach(ready, subject)
    elsewhere = f"depot/r{secrets.token_hex(4)}"
    ready.push_image(on=elsewhere)
    assert referrers(ready, digest_of(subject), on=elsewhere) == []


def test_a_list_goes_on_after_a_digest(ready: Client) -> None:
    subject = image()
    pushed = sorted(digest_of(attach(ready, subject)) for _ in range(3))
    digest = digest_of(subject)
    assert referrers(ready, digest) == pushed
    assert referrers(ready, digest, f"?last={pushed[0]}") == pushed[1:]
    assert referrers(ready, digest, f"?last={pushed[2]}") == []
    assert ready.get(f"referrers/{digest}?last=x").status_code == 400


def test_referrers_more_than_a_page_are_linked_to(ready: Client) -> None:
    subject = image()
    for _ in range(501):
        attach(ready, subject)
    answer = ready.get(f"referrers/{digest_of(subject)}?artifactType=a/sbom")
    rest = ready.http.get(answer.links["next"]["url"])
    found = [entry["digest"] for page in (answer, rest) for entry in page.json()["manifests"]]
    assert len(answer.json()["manifests"]) == 500
    assert (len(set(found)), found) == (501, sorted(found))


def test_what_clients_listed_under_the_fallback_tag_is_merged_in_once(ready: Client) -> None:
    subject = ready.push_image()
    old = image(artifactType="a/old")  # without a subject, as pushed to a registry that knew no referrers
    assert ready.put_manifest(old).status_code == 201
    new = attach(ready, subject)
    kept = index(old, new)
    tag = digest_of(subject).replace(":", "-")
    assert ready.put_manifest(kept, tag, content_type=OCI_INDEX).status_code == 201

    found = referrers(ready, digest_of(subject))

    assert sorted(found) == sorted([digest_of(old), digest_of(new)])
    assert referrers(ready, digest_of(subject), "?artifactType=a/sbom") == [digest_of(new)]
