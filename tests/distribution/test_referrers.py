"""Referrers: what is about a manifest, whether or not the manifest is there."""

from __future__ import annotations

import json
import secrets
from typing import Any

import httpx
import pytest

from registry_core.content.parsing import OCI_INDEX, OCI_MANIFEST
from tests.distribution.client import EMPTY_CONFIG, Client, descriptor, digest_of, error_code, image, index
from tests.support.server import Server

UNKNOWN = "sha256:" + "0" * 64


@pytest.fixture
def ready(alice: Client) -> Client:
    assert alice.push_blob(EMPTY_CONFIG).status_code == 201
    return alice


def attach(client: Client, subject: bytes, artifact_type: str = "a/sbom", on: str | None = None, **more: Any) -> bytes:
    known = {"artifactType": artifact_type, "annotations": {"k": artifact_type}, "x-nonce": secrets.token_hex(8)}
    content = image(subject=descriptor(subject, OCI_MANIFEST), **known | more)
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


LONG = {"text": "x" * (600 << 10)}  # seven of them are more than a page


def test_referrers_more_than_a_page_are_linked_to(ready: Client) -> None:
    subject = image()
    pushed = sorted(digest_of(attach(ready, subject, "a/b+c", annotations=LONG)) for _ in range(9))
    found = pages(ready, f"referrers/{digest_of(subject)}?artifactType=a/b%2Bc")
    assert [len(page) for page in found] == [6, 3]
    assert [entry["digest"] for page in found for entry in page] == pushed


def test_a_thousand_referrers_are_one_page_for_clients_that_know_of_no_second(ready: Client, server: Server) -> None:
    subject = image()
    first = attach(ready, subject)
    server.manage(_MANY_LIKE.format(digest=digest_of(first), count=1100))
    assert [len(page) for page in pages(ready, f"referrers/{digest_of(subject)}")] == [1101]


# By rows: pushing them takes longer than all other tests of this file.
_MANY_LIKE = """
from django.db import connection
from registry_core.digests import Digest
raw = Digest.parse("{digest}").raw
with connection.cursor() as cursor:
    cursor.execute('''
        INSERT INTO content_artifact (repository_id, manifest_id, digest, media_type, artifact_type, subject_digest,
                                      size_bytes, pull_count)
        SELECT repository_id, manifest_id, substr(digest, 1, 29) || int4send(number), media_type, artifact_type,
               subject_digest, size_bytes, 0
        FROM content_artifact, generate_series(1, {count}) AS number WHERE digest = %s
    ''', [raw])
"""


def pages(client: Client, rest: str) -> list[list[dict[str, Any]]]:
    found, url = [], client.path(rest)
    while url:
        answer = client.http.get(url)
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["manifests"])
        url = answer.links.get("next", {}).get("url", "")
    return found


def test_a_plus_that_nobody_encoded_is_one(ready: Client) -> None:
    subject = ready.push_image()
    plus, blank = (digest_of(attach(ready, subject, kind)) for kind in ("application/x+json", "text/plain; charset=x"))
    digest = digest_of(subject)
    assert referrers(ready, digest, "?artifactType=application/x+json") == [plus]
    assert referrers(ready, digest, "?artifactType=application%2Fx%2Bjson") == [plus]
    assert referrers(ready, digest, "?artifactType=text%2Fplain%3B+charset%3Dx") == [blank]
    assert referrers(ready, digest, "?artifactType=text/plain;%20charset=x") == [blank]
    both = referrers(ready, digest, "?artifactType=application/x%2Bjson&artifactType=text/plain;%20charset=x")
    assert sorted(both) == sorted([plus, blank])


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


def keep(client: Client, subject: bytes, *entries: dict[str, Any]) -> httpx.Response:
    """Put an index of these entries under the fallback tag of `subject`."""
    content = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    return client.put_manifest(content, digest_of(subject).replace(":", "-"), content_type=OCI_INDEX)


@pytest.mark.parametrize(
    "odd",
    [{"artifactType": ["a"]}, {"artifactType": {"a": 1}}, {"artifactType": 5}, {"annotations": {"a": 1}},
     {"annotations": ["a"]}, {"urls": "x"}, {"data": "?"}, {"platform": {"os": 1}}, {"size": "2"}, {"mediaType": 1}],
    ids=str,
)  # fmt: skip
def test_an_entry_that_nobody_could_read_does_not_get_under_the_fallback_tag(
    ready: Client, odd: dict[str, Any]
) -> None:
    subject = ready.push_image()
    kept = attach(ready, subject)
    assert error_code(keep(ready, subject, descriptor(subject, OCI_MANIFEST) | odd)) == "MANIFEST_INVALID"
    assert referrers(ready, digest_of(subject)) == [digest_of(kept)]


def test_an_entry_is_shown_with_the_fields_that_there_are(ready: Client) -> None:
    subject, old = ready.push_image(), ready.push_image()
    nulls = dict.fromkeys(["urls", "data", "platform"])
    entry = descriptor(old, OCI_MANIFEST, artifactType="a/old", annotations={"a": "b", "c": None}, ARTIFACTTYPE=5)
    assert keep(ready, subject, entry | nulls).status_code == 201
    shown = ready.get(f"referrers/{digest_of(subject)}").json()["manifests"]
    assert shown == [descriptor(old, OCI_MANIFEST, artifactType="a/old", annotations={"a": "b"})]


def test_odd_entries_of_an_older_release_are_left_out(ready: Client, server: Server) -> None:
    subject, old = ready.push_image(), ready.push_image()
    good = descriptor(old, OCI_MANIFEST, artifactType="a/old")
    assert keep(ready, subject, good).status_code == 201
    stored = json.dumps({"manifests": [good, good | {"artifactType": ["a"]}, good | {"digest": 1}, None, "x"]})
    for content in (stored, json.dumps({"manifests": {"a": 1}}), json.dumps({"manifests": 5})):
        tag = digest_of(subject).replace(":", "-")
        server.manage(
            "from registry_core.content.models import Manifest\n"
            f"Manifest.objects.filter(artifacts__tags__name={tag!r}).update(content={content.encode()!r})"
        )
        assert referrers(ready, digest_of(subject)) == ([digest_of(old)] if content == stored else [])


def test_signatures_by_tag_are_listed_with_the_type_of_their_config(ready: Client) -> None:
    subject = ready.push_image()
    tag = digest_of(subject).replace(":", "-")
    pushed = {}
    for suffix in ("sig", "att", "sbom"):
        content = image(config=descriptor(EMPTY_CONFIG, f"application/vnd.{suffix}"), annotations={"k": suffix})
        assert ready.put_manifest(content, f"{tag}.{suffix}").status_code == 201
        pushed[suffix] = descriptor(
            content, OCI_MANIFEST, artifactType=f"application/vnd.{suffix}", annotations={"k": suffix}
        )
    ready.put_manifest(image(), f"{tag}.other")
    ready.put_manifest(image(), f"{'sha256-' + '0' * 64}.sig")

    shown = ready.get(f"referrers/{digest_of(subject)}").json()["manifests"]

    assert sorted(shown, key=str) == sorted(pushed.values(), key=str)
    filtered = ready.get(f"referrers/{digest_of(subject)}?artifactType=application/vnd.att").json()["manifests"]
    assert filtered == [pushed["att"]]


def test_a_signature_by_tag_comes_and_goes_with_its_tag(ready: Client) -> None:
    subject, first, second = ready.push_image(), image(), image()
    tag = f"{digest_of(subject).replace(':', '-')}.sig"
    for content in (first, second):
        ready.put_manifest(content, tag)
        assert referrers(ready, digest_of(subject)) == [digest_of(content)]
    ready.delete(f"manifests/{tag}")
    assert referrers(ready, digest_of(subject)) == []


def test_nothing_refers_to_itself(ready: Client) -> None:
    content = image()
    assert ready.put_manifest(content, f"{digest_of(content).replace(':', '-')}.sig").status_code == 201
    assert referrers(ready, digest_of(content)) == []


def test_whatever_says_that_it_is_a_referrer_it_is_listed_once_on_one_page(ready: Client) -> None:
    """By its subject, by cosign's tag, and in the index under the fallback tag; here on the second page too."""
    subject = ready.push_image()
    by_subject = [attach(ready, subject, annotations=LONG) for _ in range(9)]
    by_tag, in_index = image(), image()
    tag = digest_of(subject).replace(":", "-")
    for content in (by_tag, in_index):
        ready.put_manifest(content, f"{tag}.sig" if content is by_tag else "")
    ready.put_manifest(by_subject[0], f"{tag}.att")
    everything = [*by_subject, by_tag, in_index]
    assert keep(ready, subject, *(descriptor(content, OCI_MANIFEST) for content in everything)).status_code == 201

    found = pages(ready, f"referrers/{digest_of(subject)}")

    assert len(found) == 2
    listed = [entry["digest"] for page in found for entry in page]
    assert sorted(listed) == sorted(map(digest_of, everything))
