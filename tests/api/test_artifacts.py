"""`…/artifacts` by REST: lists, copies, deletions, accessories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from projects.services import create_project
from rbac.models import Role
from registry_core.content import staged_quota
from registry_core.content.models import Artifact, Manifest, Project
from registry_core.content.quota import set_limit
from registry_core.content.repositories import RepositoryRef
from registry_core.content.tags import create_tag
from registry_core.events.models import Event
from tests.api.conftest import Api
from tests.api.content import image_config, put, put_about, put_chart, put_index, repository_of
from tests.support.operations import BY_SYSTEM

BASE = "/projects/fleet/repositories/app/artifacts"
NOTATION = "application/vnd.cncf.notary.signature"
EVERYTHING = (
    "with_tag=true&with_label=true&with_accessory=true&with_inherited_accessory=true&with_immutable_status=true"
)


def digests(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [artifact["digest"] for artifact in answer.json()]


def test_an_artifact_says_what_it_is(sysadmin: Api, project: Project, repository: RepositoryRef) -> None:
    config = image_config(author="ada", created="2026-01-01T00:00:00Z", config={"Cmd": ["run"]})
    digest = put(repository, "v1", "latest", config=config, annotations={"org.example.a": "b"})
    artifact = sysadmin.get(f"{BASE}/v1").json()
    assert artifact["digest"] == str(digest)
    assert (artifact["type"], artifact["repository_name"], artifact["project_id"]) == ("IMAGE", "fleet/app", project.pk)
    assert artifact["media_type"] == "application/vnd.oci.image.config.v1+json"
    assert artifact["manifest_media_type"] == "application/vnd.oci.image.manifest.v1+json"
    assert artifact["extra_attrs"]["config"] == {"Cmd": ["run"]}
    assert artifact["annotations"] == {"org.example.a": "b"}
    assert {tag["name"] for tag in artifact["tags"]} == {"v1", "latest"}
    assert artifact["tags"][0]["immutable"] is False
    assert artifact["pull_time"] == "0001-01-01T00:00:00.000Z"
    link = artifact["addition_links"]["build_history"]["href"].removeprefix("/api/v2.0")
    assert sysadmin.get(link).json()[0]["created_by"] == "/bin/sh -c make"
    assert not {"scan_overview", "sbom_overview"} & artifact.keys()
    assert [artifact[name] for name in ("labels", "accessories", "references")] == [None, None, None]
    assert sysadmin.get(f"/icons/{artifact['icon']}").json()["content-type"] == "image/png"


def test_an_artifact_is_the_same_by_tag_and_by_digest(sysadmin: Api, repository: RepositoryRef) -> None:
    digest = put(repository, "v1")
    assert sysadmin.get(f"{BASE}/v1").json() == sysadmin.get(f"{BASE}/{digest}").json()
    assert sysadmin.get(f"{BASE}/none").status_code == 404
    assert sysadmin.get(f"{BASE}/sha256:{'0' * 64}").status_code == 404
    assert sysadmin.get(f"{BASE}/sha256:short").status_code == 400


def test_children_and_accessories_are_shown_with_what_they_belong_to(sysadmin: Api, repository: RepositoryRef) -> None:
    children = [put(repository), put(repository)]
    index = put_index(repository, children, "multi")
    signature = put_about(repository, index, NOTATION)
    assert digests(sysadmin.get(BASE)) == [str(index)]
    (artifact,) = sysadmin.get(f"{BASE}?with_accessory=true").json()
    assert [child["child_digest"] for child in artifact["references"]] == [str(child) for child in children]
    assert [child["platform"]["architecture"] for child in artifact["references"]] == ["amd64", "arm64"]
    (accessory,) = artifact["accessories"]
    assert (accessory["digest"], accessory["type"]) == (str(signature), "signature.notation")
    assert (accessory["subject_artifact_digest"], accessory["subject_artifact_repo"]) == (str(index), "fleet/app")
    child = sysadmin.get(f"{BASE}/{children[0]}?with_inherited_accessory=true").json()
    assert [inherited["digest"] for inherited in child["inherited_accessories"]] == [str(signature)]


def test_a_child_with_a_tag_is_listed_and_so_is_one_whose_index_is_gone(
    sysadmin: Api, repository: RepositoryRef
) -> None:
    tagged, plain = put(repository, "amd64"), put(repository)
    put_index(repository, [tagged, plain], "multi")
    assert str(tagged) in digests(sysadmin.get(BASE))
    assert sysadmin.delete(f"{BASE}/multi").status_code == 200
    assert digests(sysadmin.get(BASE)) == [str(plain), str(tagged)]


def test_the_list_is_narrowed_by_what_the_contract_has(sysadmin: Api, repository: RepositoryRef) -> None:
    image, untagged = put(repository, "v1", "stable"), put(repository)
    chart = put_chart(repository, "1.0.0", {"values.yaml": "a: 1"})
    everything = [str(chart), str(untagged), str(image)]
    for q, found in {
        "": everything,
        "tags=nil": [str(untagged)],
        "tags=*": [str(chart), str(image)],
        "tags=v1": [str(image)],
        "tags=~tab": [str(image)],
        "tags={v1 1.0.0}": [str(chart), str(image)],
        "type=CHART": [str(chart)],
        "type=IMAGE,tags=*": [str(image)],
        f"digest={untagged}": [str(untagged)],
        "media_type=application/vnd.cncf.helm.config.v1%2Bjson": [str(chart)],
        "push_time=[2020-01-01 00:00:00~]": everything,
        "push_time=[~2020-01-01 00:00:00]": [],
        "pull_time=[2020-01-01~]": [],
        "labels=(77)": [],
    }.items():
        assert digests(sysadmin.get(f"{BASE}?q={q}")) == found, q
    assert digests(sysadmin.get(f"{BASE}?sort=push_time")) == everything[::-1]
    assert digests(sysadmin.get(f"{BASE}?sort=-pull_time,id")) == everything[::-1]


@pytest.mark.parametrize(
    "query", ["q=manifest__content=x", "q=labels=(a)", "q=digest=x", "q=tags=[a~b]", "sort=manifest"]
)
def test_what_the_list_cannot_be_asked_is_refused(sysadmin: Api, repository: RepositoryRef, query: str) -> None:
    assert sysadmin.get(f"{BASE}?{query}").status_code == 400


def test_pages_follow_one_another_by_their_links(sysadmin: Api, repository: RepositoryRef) -> None:
    wanted = [str(put(repository, f"v{number}")) for number in range(5)][::-1]
    answer, found = sysadmin.get(f"{BASE}?page_size=2"), []
    while True:
        assert answer["X-Total-Count"] == "5"
        found += digests(answer)
        following = [link for link in answer.get("Link", "").split(" , ") if 'rel="next"' in link]
        if not following:
            break
        answer = sysadmin.get(following[0].partition(">")[0].removeprefix("</api/v2.0"))
    assert found == wanted


def test_a_list_with_everything_costs_the_same_however_long_it_is(sysadmin: Api, repository: RepositoryRef) -> None:
    def statements() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert sysadmin.get(f"{BASE}?page_size=100&{EVERYTHING}").status_code == 200
        about_content = [query["sql"] for query in queries if "content_artifact" in query["sql"]]
        return len(about_content)

    for number in range(3):
        put_about(repository, put(repository, f"v{number}"), NOTATION)
    few = statements()
    put_index(repository, [put(repository, f"w{number}") for number in range(20)], "multi")
    assert statements() == few <= 4


def test_the_artifacts_of_a_project_come_from_all_its_repositories(
    sysadmin: Api, project: Project, repository: RepositoryRef
) -> None:
    other = repository_of(project, "team/other")
    old, new, chart = put(repository, "v1"), put(repository, "v2"), put_chart(other, "1.0.0", {})
    assert digests(sysadmin.get("/projects/fleet/artifacts")) == [str(chart), str(new), str(old)]
    image = "q=media_type=application/vnd.oci.image.config.v1%252Bjson"
    assert digests(sysadmin.get(f"/projects/fleet/artifacts?latest_in_repository=true&{image}")) == [str(new)]
    assert sysadmin.get(f"/projects/{project.pk}/artifacts").status_code == 200


def test_an_artifact_goes_with_its_tags_but_not_while_an_index_needs_it(
    sysadmin: Api, repository: RepositoryRef
) -> None:
    child = put(repository, "child")
    put_index(repository, [child], "multi")
    refused = sysadmin.delete(f"{BASE}/{child}")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (412, "VIOLATE_FOREIGN_KEY_CONSTRAINT")
    assert sysadmin.delete(f"{BASE}/multi").status_code == 200
    assert sysadmin.delete(f"{BASE}/{child}").status_code == 200
    assert sysadmin.delete(f"{BASE}/{child}").status_code == 404


def test_a_manifest_without_a_description_is_listed_all_the_same(sysadmin: Api, repository: RepositoryRef) -> None:
    put(repository, "v1")
    Manifest.objects.update(kind="", config_type="", extra_attrs=None)
    (artifact,) = sysadmin.get(BASE).json()
    assert (artifact["type"], artifact["addition_links"]) == ("UNKNOWN", {})


def test_accessories_have_a_list_of_their_own(sysadmin: Api, repository: RepositoryRef) -> None:
    subject = put(repository, "v1")
    signature, report = put_about(repository, subject, NOTATION), put_about(repository, subject, "application/vnd.a.b")
    path = f"{BASE}/v1/accessories"
    assert digests(sysadmin.get(path)) == [str(signature), str(report)]
    assert digests(sysadmin.get(f"{path}?q=type=signature.notation")) == [str(signature)]
    assert sysadmin.get(f"{path}?page_size=1")["X-Total-Count"] == "2"
    assert sysadmin.get(f"{path}?q=type=x").status_code == 400


class TestCopy:
    @pytest.fixture
    def target(self, db: None) -> Project:
        return create_project(name="harbour", is_public=False, cause=BY_SYSTEM)

    TO = "/projects/harbour/repositories/team%252Fapp/artifacts"

    def test_a_copy_brings_children_accessories_and_tags(
        self, sysadmin: Api, repository: RepositoryRef, target: Project
    ) -> None:
        children = [put(repository), put(repository)]
        index = put_index(repository, children, "v1", "latest")
        put_about(repository, index, NOTATION)
        cosign = put(repository, f"{str(children[0]).replace(':', '-')}.sig")
        made = sysadmin.post(f"{self.TO}?from=fleet/app:v1")
        assert made.status_code == 201, made.content
        artifact = sysadmin.get(made["Location"].removeprefix("/api/v2.0") + "?with_accessory=true").json()
        assert (artifact["digest"], artifact["repository_name"]) == (str(index), "harbour/team/app")
        assert {tag["name"] for tag in artifact["tags"]} == {"v1", "latest"}
        assert [accessory["type"] for accessory in artifact["accessories"]] == ["signature.notation"]
        child = sysadmin.get(f"{self.TO}/{children[0]}?with_accessory=true").json()
        assert [accessory["digest"] for accessory in child["accessories"]] == [str(cosign)]
        assert staged_quota.used_bytes(target.pk) == staged_quota.used_bytes(repository.project.id)

    def test_a_copy_can_be_made_again_and_brings_the_tags_that_are_new(
        self, sysadmin: Api, repository: RepositoryRef, target: Project
    ) -> None:
        digest = put(repository, "v1")
        made = sysadmin.post(f"{self.TO}?from=fleet/app@{digest}")
        assert (made.status_code, made["Location"].rpartition("/")[2]) == (201, str(digest))
        assert sysadmin.get(made["Location"].removeprefix("/api/v2.0")).json()["digest"] == str(digest)
        put_about(repository, digest, "application/vnd.cncf.notary.signature")
        create_tag(repository=repository, tag="stable", digest=digest, cause=BY_SYSTEM)
        before = Event.objects.count()
        again = sysadmin.post(f"{self.TO}?from=fleet/app:v1")
        assert (again.status_code, again["Location"].rpartition("/")[2]) == (201, "v1")
        shown = sysadmin.get(f"{self.TO}/{digest}?with_accessory=true").json()
        assert {tag["name"] for tag in shown["tags"]} == {"v1", "stable"}
        assert len(shown["accessories"]) == 1
        assert Event.objects.count() > before
        before = Event.objects.count()
        assert sysadmin.post(f"{self.TO}?from=fleet/app:v1").status_code == 201
        assert Event.objects.count() == before, "nothing was left to copy, so nothing happened"

    @pytest.mark.parametrize(
        ("source", "status"),
        [("fleet/app:none", 404), ("fleet/none:v1", 404), ("none/app:v1", 404), ("app:v1", 400), ("fleet/app", 400),
         ("", 400), ("fleet/app@sha256:x", 400), ("fleet/../x:v1", 400)],
    )  # fmt: skip
    def test_what_is_not_there_cannot_be_copied(
        self, sysadmin: Api, repository: RepositoryRef, target: Project, source: str, status: int
    ) -> None:
        assert sysadmin.post(f"{self.TO}?from={source}").status_code == status

    def test_one_copies_only_what_one_may_pull_and_learns_no_more(
        self, member: Callable[[Project, Role], Api], repository: RepositoryRef, target: Project
    ) -> None:
        put(repository, "v1")
        developer = member(target, Role.DEVELOPER)
        hidden, missing = (developer.post(f"{self.TO}?from={name}/app:v1") for name in ("fleet", "none"))
        assert hidden.status_code == missing.status_code == 403
        assert hidden.content.replace(b"fleet", b"none") == missing.content
        assert not Artifact.objects.filter(repository__project=target).exists()

    def test_a_copy_is_refused_by_the_quota_as_a_push_is(
        self, sysadmin: Api, repository: RepositoryRef, target: Project
    ) -> None:
        put(repository, "v1")
        set_limit(project_id=target.pk, limit_bytes=10)
        refused = sysadmin.post(f"{self.TO}?from=fleet/app:v1")
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (403, "DENIED")


class TestTags:
    def test_a_tag_is_made_listed_and_deleted(self, sysadmin: Api, repository: RepositoryRef) -> None:
        digest = put(repository, "v1")
        made = sysadmin.post(f"{BASE}/{digest}/tags", {"name": "stable"})
        assert made.status_code == 201
        assert made["Location"].endswith("/tags/stable")
        assert {tag["name"] for tag in sysadmin.get(f"{BASE}/v1/tags").json()} == {"v1", "stable"}
        assert [tag["name"] for tag in sysadmin.get(f"{BASE}/v1/tags?q=name=~tab").json()] == ["stable"]
        assert sysadmin.delete(f"{BASE}/v1/tags/stable").status_code == 200
        assert sysadmin.get(f"{BASE}/v1/tags")["X-Total-Count"] == "1"

    def test_a_tag_of_another_artifact_is_not_taken_away(self, sysadmin: Api, repository: RepositoryRef) -> None:
        one, _ = put(repository, "v1"), put(repository, "v2")
        assert sysadmin.post(f"{BASE}/{one}/tags", {"name": "v2"}).status_code == 409
        assert sysadmin.delete(f"{BASE}/v1/tags/v2").status_code == 404
        assert sysadmin.get(f"{BASE}/v2").status_code == 200

    @pytest.mark.parametrize("name", ["", "-x", "a b", "x" * 129, "a\u0000"])
    def test_only_tags_that_can_be_pulled_are_made(self, sysadmin: Api, repository: RepositoryRef, name: str) -> None:
        put(repository, "v1")
        assert sysadmin.post(f"{BASE}/v1/tags", {"name": name}).status_code == 400

    def test_a_guest_may_look_and_not_change(
        self, member: Callable[[Project, Role], Api], project: Project, repository: RepositoryRef
    ) -> None:
        put(repository, "v1")
        guest = member(project, Role.GUEST)
        assert guest.get(f"{BASE}/v1/tags").status_code == 200
        assert guest.post(f"{BASE}/v1/tags", {"name": "x"}).status_code == 403
        assert guest.delete(f"{BASE}/v1/tags/v1").status_code == 403
        assert guest.delete(f"{BASE}/v1").status_code == 403
        assert guest.post(f"{BASE}?from=fleet/app:v1").status_code == 403
