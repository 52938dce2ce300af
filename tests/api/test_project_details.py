"""A project's summary, scanner and metadata by REST."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from projects.services import create_project
from rbac.models import Role
from registry_core.content.models import Project
from tests.api.conftest import Api
from tests.support.operations import BY_SYSTEM


@pytest.fixture
def project(db: None) -> Project:
    return create_project(name="summed", is_public=True, cause=BY_SYSTEM, storage_limit_bytes=10_000)


def test_a_summary_counts_members_by_role_and_shows_the_quota(
    member: Callable[[Project, Role], Api], anonymous: Api, project: Project
) -> None:
    admin, _ = member(project, Role.PROJECT_ADMIN), member(project, Role.GUEST)
    shown = admin.get("/projects/summed/summary").json()
    assert (shown["project_admin_count"], shown["guest_count"], shown["repo_count"]) == (1, 1, 0)
    assert shown["quota"] == {"hard": {"storage": 10_000}, "used": {"storage": 0}}
    assert anonymous.get("/projects/summed/summary").json() == {"repo_count": 0}


def test_a_project_has_no_scanner_to_choose(sysadmin: Api, project: Project) -> None:
    assert sysadmin.get("/projects/summed/scanner").status_code == 404
    assert sysadmin.put("/projects/summed/scanner", {"uuid": "x"}).status_code == 404
    candidates = sysadmin.get("/projects/summed/scanner/candidates")
    assert (candidates.json(), candidates["X-Total-Count"]) == ([], "0")


def test_metadata_are_set_changed_and_forgotten_one_by_one(sysadmin: Api, project: Project) -> None:
    path = "/projects/summed/metadatas"
    assert sysadmin.get(f"{path}/").json() == sysadmin.get(path).json() == {"public": "true"}
    assert sysadmin.post(f"{path}/", {"auto_scan": "true"}).status_code == 200
    assert sysadmin.post(f"{path}/", {"auto_scan": "true"}).status_code == 409
    assert sysadmin.put(f"{path}/auto_scan", {"auto_scan": "false"}).status_code == 200
    assert sysadmin.get(f"{path}/auto_scan").json() == {"auto_scan": "false"}
    for _ in range(2):
        assert sysadmin.delete(f"{path}/auto_scan").status_code == 200
        assert sysadmin.get(f"{path}/auto_scan").json() == {}
    assert sysadmin.get(f"{path}/no-such-name").json() == {}


@pytest.mark.parametrize(
    ("name", "given", "stored"),
    [("severity", "negligible", "negligible"), ("severity", "Critical", "critical"), ("auto_scan", "1", "true"),
     ("auto_scan", "T", "true"), ("auto_scan", "TRUE", "true"), ("auto_scan", "f", "false"), ("public", "0", "false")],
)  # fmt: skip
def test_metadata_are_stored_in_one_spelling(
    sysadmin: Api, project: Project, name: str, given: str, stored: str
) -> None:
    assert sysadmin.put("/projects/summed", {"metadata": {name: given}}).status_code == 200
    assert sysadmin.get(f"/projects/summed/metadatas/{name}").json() == {name: stored}
    assert sysadmin.post("/projects", {"project_name": "spelled", "metadata": {name: given}}).status_code == 201
    assert sysadmin.get("/projects/spelled").json()["metadata"] == {"public": "false"} | {name: stored}


@pytest.mark.parametrize(
    "body", [{"unknown": "x"}, {"severity": "x"}, {}, {"auto_scan": "true", "severity": "low"}, {"auto_scan": 1}]
)
def test_impossible_metadata_are_refused(sysadmin: Api, project: Project, body: dict[str, object]) -> None:
    assert sysadmin.post("/projects/summed/metadatas/", body).status_code == 400


def test_metadata_are_changed_under_their_own_name(sysadmin: Api, project: Project) -> None:
    assert sysadmin.put("/projects/summed/metadatas/public", {"auto_scan": "true"}).status_code == 400
    assert sysadmin.put("/projects/summed/metadatas/severity", {"severity": "low"}).status_code == 404
    assert sysadmin.delete("/projects/summed/metadatas/public").status_code == 400


def test_a_guest_does_not_see_the_metadata_of_a_project(
    member: Callable[[Project, Role], Api], project: Project
) -> None:
    guest = member(project, Role.GUEST)
    assert guest.get("/projects/summed/metadatas/").status_code == 403
    assert guest.post("/projects/summed/metadatas/", {"auto_scan": "true"}).status_code == 403
