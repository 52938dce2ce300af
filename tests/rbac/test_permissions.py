"""What each kind of subject may do on the repositories of a project."""

from __future__ import annotations

import pytest

from rbac.models import Group, ProjectMember, RobotPermission, Role
from rbac.services.members import add_member, change_role, remove_member, set_groups
from rbac.services.permissions import has_project_permission
from rbac.services.robots import RobotGrant, create_robot, robot_subject, set_grants
from rbac.services.users import set_active, set_sysadmin
from registry_core.access import ANONYMOUS, Subject, authority
from registry_core.content.models import Project
from registry_core.errors import InvalidInput, NotAllowed
from registry_core.machine.state import generations
from tests.rbac import arrange
from tests.support.operations import BY_SYSTEM, on_behalf_of

pytestmark = pytest.mark.django_db


def actions(subject: Subject, project: Project) -> set[str]:
    return set(authority().actions_by_project(subject=subject, project_ids=[project.pk]).get(project.pk, ()))


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        (Role.PROJECT_ADMIN, {"pull", "push", "delete"}),
        (Role.MAINTAINER, {"pull", "push", "delete"}),
        (Role.DEVELOPER, {"pull", "push"}),
        (Role.GUEST, {"pull"}),
        (Role.LIMITED_GUEST, {"pull"}),
    ],
)
def test_roles_give_their_actions_in_their_project_only(role: Role, expected: set[str]) -> None:
    own, other = arrange.project("own"), arrange.project("other")
    anna = arrange.member("anna", own, role).subject
    assert actions(anna, own) == expected
    assert actions(anna, other) == set()
    assert authority().pullable_projects(anna) == [own.pk]


def test_everyone_pulls_from_a_public_project_and_nobody_from_a_private_one() -> None:
    public, private = arrange.project("public", is_public=True), arrange.project("private")
    robot = robot_subject(arrange.robot("ci")[0])
    for subject in (ANONYMOUS, arrange.user("anna").subject, robot):
        assert actions(subject, public) == {"pull"}
        assert actions(subject, private) == set()
        assert public.pk in (authority().pullable_projects(subject) or [])
        assert private.pk not in (authority().pullable_projects(subject) or [])


def test_scan_report_of_a_public_project_is_for_those_signed_in() -> None:
    public = arrange.project("public", is_public=True)

    def may_read(subject: Subject) -> bool:
        return has_project_permission(subject=subject, project_id=public.pk, resource="scan", action="read")

    assert may_read(arrange.user("anna").subject)
    assert not may_read(ANONYMOUS)


def test_administrator_may_all_until_no_longer_one() -> None:
    private, boss = arrange.project("private"), arrange.user("boss", is_sysadmin=True)
    arrange.user("other-boss", is_sysadmin=True)
    assert actions(boss.subject, private) == {"pull", "push", "delete"}
    assert authority().pullable_projects(boss.subject) is None
    assert authority().may_list_catalog(boss.subject)
    set_sysadmin(user=boss, is_sysadmin=False, cause=BY_SYSTEM)
    assert actions(boss.subject, private) == set()
    assert not authority().may_list_catalog(boss.subject)


def test_user_has_the_union_of_own_and_group_roles() -> None:
    own = arrange.project("own")
    anna = arrange.member("anna", own, Role.GUEST)
    crew = Group.objects.create(name="crew", kind=Group.Kind.HTTP)
    add_member(project=own, role=Role.DEVELOPER, cause=BY_SYSTEM, group=crew)
    set_groups(user=anna, groups=[crew], cause=BY_SYSTEM)
    assert actions(anna.subject, own) == {"pull", "push"}
    set_groups(user=anna, groups=[], cause=BY_SYSTEM)
    assert actions(anna.subject, own) == {"pull"}


def test_member_is_either_a_user_or_a_group() -> None:
    with pytest.raises(InvalidInput):
        add_member(project=arrange.project("own"), role=Role.GUEST, cause=BY_SYSTEM)


def test_every_change_of_rights_makes_what_is_remembered_stale() -> None:
    own, anna = arrange.project("own"), arrange.user("anna")
    slot = generations().slot(anna.subject.key)
    seen = [generations().value(slot)]
    member = add_member(project=own, role=Role.GUEST, cause=BY_SYSTEM, user=anna)
    seen.append(generations().value(slot))
    change_role(member=member, role=Role.DEVELOPER, cause=BY_SYSTEM)
    seen.append(generations().value(slot))
    remove_member(member=member, cause=BY_SYSTEM)
    seen.append(generations().value(slot))
    assert seen == sorted(set(seen))
    assert not ProjectMember.objects.filter(project=own).exists()
    assert actions(anna.subject, own) == set()


def test_disabled_user_may_nothing_not_even_what_anonymous_may() -> None:
    public, anna = arrange.project("public", is_public=True), arrange.user("anna")
    set_active(user=anna, is_active=False, cause=BY_SYSTEM)
    assert actions(anna.subject, public) == set()
    assert authority().pullable_projects(anna.subject) == []
    assert authority().credential_version(anna.subject) == -1


def test_deleted_project_gives_nothing_and_its_successor_inherits_nothing() -> None:
    old = arrange.project("own")
    anna = arrange.member("anna", old, Role.PROJECT_ADMIN)
    robot = robot_subject(arrange.robot("ci", arrange.allow("push", on=old), of=old)[0])
    Project.objects.filter(pk=old.pk).update(deleted_at="2026-01-01T00:00:00Z")
    new = arrange.project("own")
    for subject in (anna.subject, robot):
        assert actions(subject, old) == actions(subject, new) == set()
    assert authority().subject(kind=robot.kind, id=robot.id) is None


def test_robot_may_what_it_was_given_and_not_what_it_was_denied() -> None:
    own, other, third = arrange.project("own"), arrange.project("other"), arrange.project("third")
    deny = RobotGrant(
        RobotPermission.Kind.PROJECT, "repository", "pull", project_id=third.pk, effect=RobotPermission.Effect.DENY
    )
    robot = robot_subject(arrange.robot("ci", arrange.allow("pull"), arrange.allow("push", on=own), deny)[0])
    assert (actions(robot, own), actions(robot, other), actions(robot, third)) == ({"pull", "push"}, {"pull"}, set())
    assert authority().pullable_projects(robot) == [own.pk, other.pk]


def test_catalog_is_for_robots_that_were_given_it() -> None:
    catalog = RobotGrant(RobotPermission.Kind.SYSTEM, "catalog", "read")
    assert authority().may_list_catalog(robot_subject(arrange.robot("lister", catalog)[0]))
    assert not authority().may_list_catalog(robot_subject(arrange.robot("other")[0]))


def test_project_robot_cannot_be_given_anything_outside_its_project() -> None:
    own, other = arrange.project("own"), arrange.project("other")
    for grant in (arrange.allow("pull", on=other), arrange.allow("pull")):
        with pytest.raises(InvalidInput):
            arrange.robot("ci", grant, of=own)


def test_robot_makes_no_robot_with_more_rights_than_its_own() -> None:
    own = arrange.project("own")
    maker_row, _ = arrange.robot(
        "maker", arrange.allow("pull", on=own), arrange.allow("create", resource="robot", on=own)
    )
    maker = robot_subject(maker_row)
    create_robot(name="child", grants=[arrange.allow("pull", on=own)], cause=on_behalf_of(maker), project=own)
    for grant in (arrange.allow("push", on=own), arrange.allow("pull")):
        with pytest.raises(NotAllowed):
            create_robot(name="big", grants=[grant], cause=on_behalf_of(maker))
    with pytest.raises(NotAllowed):
        set_grants(robot=maker_row, grants=[arrange.allow("push", on=own)], cause=on_behalf_of(maker))
