"""`/quotas`, `/statistics` and `/systeminfo` by REST."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from projects.services import create_project
from rbac.models import RobotPermission, Role
from rbac.services.robots import RobotGrant, create_robot
from registry_core.content.models import Project
from registry_core.content.quota import charge
from tests.api.conftest import Api, api_as
from tests.support.operations import BY_SYSTEM


@pytest.fixture
def project(db: None) -> Project:
    return create_project(name="paying", is_public=False, cause=BY_SYSTEM, storage_limit_bytes=10_000)


def test_a_quota_shows_limit_use_and_owner(user: Api, sysadmin: Api) -> None:
    user.post("/projects", {"project_name": "mine"})
    project = Project.objects.get(name="mine")
    charge(project_id=project.pk, delta_bytes=700)
    shown = sysadmin.get(f"/quotas/{project.pk}").json()
    assert shown["ref"] == {"id": project.pk, "name": "mine", "owner_name": "somebody"}
    assert (shown["hard"], shown["used"]) == ({"storage": -1}, {"storage": 700})


def test_quotas_sort_by_use_and_by_limit(sysadmin: Api, project: Project) -> None:
    other = create_project(name="other", is_public=False, cause=BY_SYSTEM, storage_limit_bytes=5_000)
    charge(project_id=other.pk, delta_bytes=9)
    for sort, first in (("-used.storage", other), ("-hard.storage", project), ("used", project), ("hard", other)):
        page = sysadmin.get(f"/quotas?sort={sort}&page_size=1")
        assert (page.json()[0]["id"], page["X-Total-Count"]) == (first.pk, "2")
        following = sysadmin.get(page["Link"].partition(">")[0].removeprefix("</api/v2.0"))
        assert {following.json()[0]["id"], first.pk} == {project.pk, other.pk}
    assert [quota["id"] for quota in sysadmin.get(f"/quotas?reference=project&reference_id={other.pk}").json()] == [
        other.pk
    ]


@pytest.mark.parametrize("query", ["reference=user", "reference_id=x", "sort=name"])
def test_quotas_cannot_be_asked_anything_else(sysadmin: Api, query: str) -> None:
    assert sysadmin.get(f"/quotas?{query}").status_code == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"hard": {"storage": 5}}, 200), ({"hard": {"storage": -1}}, 200), ({"hard": {"storage": 0}}, 400),
        ({"hard": {"storage": 2**62}}, 400), ({"hard": {"count": 5}}, 400), ({"hard": {}}, 400), ({}, 400),
        ({"hard": {"storage": 2**70}}, 400),
    ],
)  # fmt: skip
def test_a_limit_is_set_by_bytes(sysadmin: Api, project: Project, body: dict[str, object], status: int) -> None:
    assert sysadmin.put(f"/quotas/{project.pk}", body).status_code == status


def test_quotas_are_for_administrators_and_robots_that_were_given_them(
    user: Api, anonymous: Api, sysadmin: Api, project: Project
) -> None:
    grant = RobotGrant(RobotPermission.Kind.SYSTEM, "quota", "list")
    _, secret = create_robot(name="counting", grants=[grant], cause=BY_SYSTEM)
    robot = api_as("robot$counting", secret)
    for api, status in ((user, 403), (anonymous, 401), (robot, 200)):
        assert api.get("/quotas").status_code == status
    assert robot.put(f"/quotas/{project.pk}", {"hard": {"storage": 5}}).status_code == 403
    assert sysadmin.get("/quotas/987654321").status_code == 404


def test_statistics_count_what_the_caller_may_see(
    sysadmin: Api, user: Api, anonymous: Api, member: Callable[[Project, Role], Api], project: Project
) -> None:
    create_project(name="open", is_public=True, cause=BY_SYSTEM)
    charge(project_id=project.pk, delta_bytes=70)
    everything, own, little = (api.get("/statistics").json() for api in (sysadmin, member(project, Role.GUEST), user))
    assert (everything["total_project_count"], everything["total_storage_consumption"]) == (2, 70)
    assert (own["private_project_count"], own["public_project_count"], own["total_storage_consumption"]) == (1, 1, 0)
    assert (little["private_project_count"], little["total_project_count"]) == (0, 1)
    assert anonymous.get("/statistics").status_code == 401


def test_who_has_signed_in_learns_more_of_the_system(user: Api, anonymous: Api, sysadmin: Api) -> None:
    sysadmin.put("/configurations", {"banner_message": "closed on Sunday"})
    public, known = anonymous.get("/systeminfo").json(), user.get("/systeminfo").json()
    assert (public["auth_mode"], public["banner_message"]) == ("db_auth", "closed on Sunday")
    assert "harbor_version" not in public
    assert known["harbor_version"].startswith("v2.")
    assert (known["read_only"], known["has_ca_root"]) == (False, False)


def test_volumes_are_for_administrators_and_a_certificate_is_there_or_not(user: Api, sysadmin: Api) -> None:
    assert user.get("/systeminfo/volumes").status_code == 403
    volume = sysadmin.get("/systeminfo/volumes").json()["storage"][0]
    assert 0 < volume["free"] <= volume["total"]
    assert user.get("/systeminfo/getcert").status_code == 404
