"""`/projects/{project_name_or_id}/members` by REST."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from projects.services import create_project, delete_project
from rbac.models import Group, ProjectMember, Role, User
from rbac.services.groups import create_group
from rbac.services.members import add_member
from registry_core.content.models import Project
from registry_core.errors import NotFound
from tests.api.conftest import Api
from tests.support.operations import BY_SYSTEM

PATH = "/projects/fleet/members"


@pytest.fixture
def admin(member: Callable[[Project, Role], Api], project: Project) -> Api:
    return member(project, Role.PROJECT_ADMIN)


def test_users_are_made_members_by_name_or_id_and_shown_with_their_role(
    admin: Api, project: Project, make_user: Callable[..., User]
) -> None:
    ada, bob = make_user("ada"), make_user("bob")
    made = admin.post(PATH, {"role_id": 2, "member_user": {"username": "ADA"}})
    assert made.status_code == 201
    assert admin.post(PATH, {"role_id": 5, "member_user": {"user_id": bob.pk}}).status_code == 201
    assert admin.get(made["Location"].removeprefix("/api/v2.0")).json() == {
        "id": ProjectMember.objects.get(user=ada).pk, "project_id": project.pk, "entity_name": "ada",
        "role_name": "developer", "role_id": 2, "entity_id": ada.pk, "entity_type": "u",
    }  # fmt: skip
    assert admin.post(PATH, {"role_id": 1, "member_user": {"username": "ada"}}).status_code == 409


def test_groups_are_made_members_and_those_of_providers_noted_before_anybody_came(admin: Api) -> None:
    group = create_group(name="ops", kind=Group.Kind.HTTP, cause=BY_SYSTEM)
    assert admin.post(PATH, {"role_id": 3, "member_group": {"id": group.pk}}).status_code == 201
    named = {"group_name": "OPS", "group_type": 2}
    assert admin.post(PATH, {"role_id": 3, "member_group": named}).status_code == 409
    for new in ({"group_name": "sso", "group_type": 3}, {"group_type": 1, "ldap_group_dn": "cn=dev,dc=org"}):
        assert admin.post(PATH, {"role_id": 3, "member_group": new}).status_code == 201
    assert admin.post(PATH, {"role_id": 3, "member_group": named | {"group_name": "none"}}).status_code == 404
    listed = [(found["entity_name"], found["entity_type"]) for found in admin.get(f"{PATH}?entityname=s").json()]
    assert listed == [("ops", "g"), ("sso", "g")]


@pytest.mark.parametrize(
    ("wrong", "status"),
    [({"role_id": 2}, 400), ({"role_id": 9, "member_user": {"username": "somebody"}}, 400), ({}, 400),
     ({"role_id": 2, "member_user": {}}, 400), ({"role_id": 2, "member_user": {"username": "nobody"}}, 404),
     ({"role_id": 2, "member_user": {"user_id": 2**70}}, 404), ({"role_id": 2, "member_group": {"id": 987654}}, 404),
     ({"role_id": 2, "member_group": {}}, 400), ({"role_id": 2, "member_user": {"username": "a\x00"}}, 400)]
)  # fmt: skip
def test_what_cannot_be_a_member_is_refused(admin: Api, user: Api, wrong: dict[str, Any], status: int) -> None:
    assert admin.post(PATH, wrong).status_code == status


def test_a_role_is_changed_and_taken_away_also_the_last_administrators(admin: Api, project: Project) -> None:
    own = f"{PATH}/{ProjectMember.objects.get(project=project).pk}"
    assert admin.put(own, {"role_id": 9}).status_code == 400
    assert admin.put(own, {"role_id": 1}).status_code == 200
    assert admin.delete(own).status_code == 200
    assert admin.get(PATH).status_code == 403


def test_a_member_is_one_of_its_own_project_only(sysadmin: Api, admin: Api, project: Project) -> None:
    create_project(name="other", is_public=False, cause=BY_SYSTEM)
    member_id = ProjectMember.objects.get(project=project).pk
    for call in (sysadmin.get, sysadmin.delete, lambda path: sysadmin.put(path, {"role_id": 3})):
        assert call(f"/projects/other/members/{member_id}").status_code == 404
    assert admin.get("/projects/other/members").status_code == 403


def test_only_administrators_of_the_project_change_members(
    member: Callable[[Project, Role], Api], user: Api, anonymous: Api, project: Project
) -> None:
    maintainer = member(project, Role.MAINTAINER)
    assert maintainer.get(PATH).status_code == 200
    assert maintainer.post(PATH, {"role_id": 2, "member_user": {"username": "somebody"}}).status_code == 403
    assert (user.get(PATH).status_code, anonymous.get(PATH).status_code) == (403, 401)
    assert user.get(PATH).content == user.get("/projects/nothing/members").content


def test_nobody_becomes_a_member_of_what_was_deleted_meanwhile(
    project: Project, make_user: Callable[..., User]
) -> None:
    ada = make_user("ada")
    delete_project(project=project, cause=BY_SYSTEM)
    with pytest.raises(NotFound):
        add_member(project=project, role=Role.GUEST, user=ada, cause=BY_SYSTEM)
    assert not ProjectMember.objects.exists()


def test_a_page_of_members_costs_the_same_whatever_its_size(
    admin: Api, project: Project, make_user: Callable[..., User], django_assert_max_num_queries: Any
) -> None:
    for number in range(12):
        add_member(project=project, role=Role.GUEST, user=make_user(f"u{number}"), cause=BY_SYSTEM)
    counts = []
    for size in (1, 10):
        with django_assert_max_num_queries(20) as captured:
            assert len(admin.get(f"{PATH}?page_size={size}").json()) == size
        counts.append(len(captured))
    assert counts[0] == counts[1]
