"""What lists say of artifacts that have more than one answer can carry, and what becomes of the others."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from projects.artifact_lists import DETAILS_MAX, PLATFORM_MAX_BYTES, TEXTS_MAX_BYTES
from registry_core.content.models import Artifact
from registry_core.content.parsing import MAX_ENTRIES, OCI_INDEX, OCI_MANIFEST
from registry_core.content.repositories import RepositoryRef
from tests.api.conftest import Api
from tests.api.content import put, put_document, put_index

pytestmark = pytest.mark.slow

BASE = "/projects/fleet/repositories/app/artifacts"
PUT_MAX_BYTES = 4 << 20


def listed(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.content
    return {artifact["digest"]: artifact for artifact in answer.json()}


def test_a_page_has_the_small_annotations_and_says_that_it_lacks_the_large_ones(
    sysadmin: Api, repository: RepositoryRef
) -> None:
    large = [put(repository, annotations={"k": "x" * (PUT_MAX_BYTES - 2000 + number)}) for number in range(5)]
    small = put(repository, annotations={"k": "small"})
    answer = sysadmin.get(BASE)
    artifacts = listed(answer)
    assert len(answer.content) < TEXTS_MAX_BYTES + (1 << 20)
    assert [digest for digest in map(str, large) if "annotations" not in artifacts[digest]] == [str(large[-1])]
    assert artifacts[str(small)]["annotations"] == {"k": "small"}
    assert answer["Warning"].startswith('299 - "incomplete: annotations and extra_attrs')
    alone = sysadmin.get(f"{BASE}/{large[-1]}")
    assert len(alone.json()["annotations"]["k"]) == PUT_MAX_BYTES - 1996
    assert "Warning" not in alone


def test_an_artifact_of_more_than_a_page_carries_is_whole_by_itself(sysadmin: Api, repository: RepositoryRef) -> None:
    digest = put(repository, "v1", annotations={"k": "x" * (TEXTS_MAX_BYTES + 1)})
    for answer in (sysadmin.get(f"{BASE}/{digest}"), sysadmin.get(BASE)):
        artifact = answer.json() if isinstance(answer.json(), dict) else answer.json()[0]
        assert len(artifact["annotations"]["k"]) == TEXTS_MAX_BYTES + 1


def test_children_of_many_indexes_are_shown_in_turn_and_the_page_says_that_there_are_more(
    sysadmin: Api, repository: RepositoryRef
) -> None:
    child = put(repository)
    large = [put_index(repository, [child] * MAX_ENTRIES, annotations={"n": str(n)}) for n in range(3)]
    small = put_index(repository, [child, child])
    answer = sysadmin.get(BASE)
    artifacts = listed(answer)
    shown = [len(artifacts[str(digest)]["references"]) for digest in large]
    assert sum(shown) + 2 == DETAILS_MAX
    assert max(shown) - min(shown) <= 1
    assert len(artifacts[str(small)]["references"]) == 2
    assert "incomplete: references" in answer["Warning"]
    alone = sysadmin.get(f"{BASE}/{large[0]}")
    assert [len(alone.json()["references"]), "Warning" in alone] == [MAX_ENTRIES, False]


def test_an_artifact_with_thousands_of_tags_shows_the_newest_and_says_that_there_are_more(
    sysadmin: Api, repository: RepositoryRef
) -> None:
    digest = put(repository, "v1")
    artifact = Artifact.objects.get(digest=digest.raw)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO content_tag (repository_id, name, artifact_id) SELECT %s, 't' || n, %s "
            "FROM generate_series(1, %s) AS n",
            [repository.id, artifact.pk, DETAILS_MAX],
        )
    answer = sysadmin.get(f"{BASE}/{digest}")
    names = [tag["name"] for tag in answer.json()["tags"]]
    assert (len(names), names[0], "v1" in names) == (DETAILS_MAX, f"t{DETAILS_MAX}", False)
    assert "incomplete: tags" in answer["Warning"]
    assert sysadmin.get(f"{BASE}/{digest}/tags")["X-Total-Count"] == str(DETAILS_MAX + 1)


def test_a_platform_that_is_no_platform_is_not_shown(sysadmin: Api, repository: RepositoryRef) -> None:
    child = {"mediaType": OCI_MANIFEST, "digest": str(put(repository)), "size": 2}
    platforms = [{"architecture": "a", "os": "l", "os.features": ["x" * length]} for length in (3, PLATFORM_MAX_BYTES)]
    entries = [child | {"platform": platform} for platform in platforms]
    put_document(repository, {"schemaVersion": 2, "manifests": entries}, "v1", media_type=OCI_INDEX)
    references = sysadmin.get(f"{BASE}/v1").json()["references"]
    assert ["platform" in reference for reference in references] == [True, False]
