"""The audit log by REST: what is in it, who may read what, and that nothing is there twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from projects.audit.consumer import write_entries
from projects.audit.mapping import event_types
from projects.events import LabelCreated, ProjectUpdated
from projects.models import AuditEntry
from projects.services import create_project
from rbac.events import MemberAdded
from rbac.models import RobotPermission, Role, User
from rbac.services.robots import RobotGrant, create_robot
from rbac.services.users import create_user, delete_user
from registry_core.access import of_many
from registry_core.content.events import ArtifactPulled, ArtifactPushed, TagDeleted
from registry_core.content.models import Project
from registry_core.events.models import Cursor
from registry_core.events.outbox import emit
from registry_core.events.relay import relay
from registry_core.settings_store.changes import change
from registry_core.settings_store.models import StoredSetting
from tests.api.conftest import PASSWORD, Api, api_as
from tests.support.operations import BY_SYSTEM


def written() -> None:
    """Everything that happened is in the log."""
    relay()
    write_entries()


@pytest.fixture
def project(db: None) -> Project:
    return create_project(name="logged", is_public=False, cause=BY_SYSTEM)


def test_what_somebody_did_is_in_the_log_under_his_name(user: Api, sysadmin: Api) -> None:
    user.post("/projects", {"project_name": "mine"})
    written()
    found = sysadmin.get("/auditlog-exts?q=resource=mine,operation=create").json()
    assert [(entry["username"], entry["resource_type"], entry["operation_result"]) for entry in found] == [
        ("somebody", "project", True)
    ]


def test_an_event_makes_one_entry_however_often_it_is_read(project: Project) -> None:
    written()
    before = AuditEntry.objects.count()
    Cursor.objects.filter(name="audit").update(seq=0)
    assert write_entries() > 0
    assert (AuditEntry.objects.count(), write_entries()) == (before, 0)


def test_each_reads_the_log_of_what_is_his(
    sysadmin: Api, user: Api, anonymous: Api, member: Callable[[Project, Role], Api], project: Project
) -> None:
    create_project(name="foreign", is_public=True, cause=BY_SYSTEM)
    admin, guest = member(project, Role.PROJECT_ADMIN), member(project, Role.GUEST)
    written()
    emit(ProjectUpdated(name="logged"), cause=BY_SYSTEM, project_id=project.pk)
    written()
    assert {entry["resource"] for entry in admin.get("/auditlog-exts?q=resource_type=project").json()} == {"logged"}
    assert guest.get("/auditlog-exts").json() == user.get("/auditlog-exts").json() == []
    assert "foreign" in {entry["resource"] for entry in sysadmin.get("/auditlog-exts?page_size=100").json()}
    assert admin.get("/projects/logged/auditlog-exts").json() != []
    for path in ("/projects/logged/logs", "/projects/logged/auditlog-exts"):
        assert (admin.get(path).status_code, guest.get(path).status_code, user.get(path).status_code) == (200, 403, 403)
    assert anonymous.get("/auditlog-exts").status_code == 401


def test_robots_read_what_they_were_given(project: Project) -> None:
    emit(ProjectUpdated(name="logged"), cause=BY_SYSTEM, project_id=project.pk)
    written()
    everything = RobotGrant(RobotPermission.Kind.SYSTEM, "audit-log", "list")
    own = RobotGrant(RobotPermission.Kind.PROJECT, "log", "list", project_id=project.pk)
    _, auditor = create_robot(name="auditor", grants=[everything], cause=BY_SYSTEM)
    _, ours = create_robot(name="ours", grants=[own], cause=BY_SYSTEM, project=project)
    _, nobody = create_robot(name="nobody", grants=[], cause=BY_SYSTEM)
    assert int(api_as("robot$auditor", auditor).get("/auditlog-exts")["X-Total-Count"]) >= 2
    assert api_as("robot$logged+ours", ours).get("/auditlog-exts")["X-Total-Count"] == "2"
    assert api_as("robot$nobody", nobody).get("/auditlog-exts").json() == []


def test_pages_go_on_where_the_one_before_ended(sysadmin: Api) -> None:
    for number in range(5):
        create_project(name=f"p{number}", is_public=True, cause=BY_SYSTEM)
    written()
    page, seen = sysadmin.get("/auditlog-exts?q=operation=create,resource_type=project&page_size=2"), []
    while True:
        seen += [entry["resource"] for entry in page.json()]
        if "Link" not in page or 'rel="next"' not in page["Link"]:
            break
        address = page["Link"].rpartition("<")[2].partition(">")[0]
        page = sysadmin.get(address.removeprefix("/api/v2.0"))
    assert sorted(seen) == ["p0", "p1", "p2", "p3", "p4"]


def test_pulls_pushes_and_deletions_have_an_older_view(sysadmin: Api, project: Project) -> None:
    for payload in (
        ArtifactPushed(digest="sha256:aa", tags=["1"]),
        ArtifactPulled(tag="1", pulls=7),
        TagDeleted(tag="1"),
        MemberAdded(role=1),
    ):
        emit(payload, cause=BY_SYSTEM, project_id=project.pk)
    written()
    listed = sysadmin.get("/projects/logged/logs?sort=id").json()
    assert [(entry["operation"], entry["resource_type"]) for entry in listed] == [
        ("create", "project"), ("create", "artifact"), ("pull", "artifact"), ("delete", "tag"),
    ]  # fmt: skip
    pull = sysadmin.get("/auditlog-exts?q=operation=pull").json()[0]
    assert "7 times" in pull["operation_description"]


def test_a_line_break_does_not_make_one_entry_look_like_two(sysadmin: Api) -> None:
    emit(LabelCreated(name="red\n2026-01-01 admin delete everything\x1b[2K"), cause=BY_SYSTEM)
    written()
    entry = sysadmin.get("/auditlog-exts?q=resource_type=label").json()[0]
    assert entry["resource"].isprintable()
    assert entry["operation_description"].isprintable()


def test_what_the_settings_leave_out_is_not_in_the_log(sysadmin: Api) -> None:
    change(values={"disabled_audit_log_event_types": "create_project, delete_user"}, cause=BY_SYSTEM)
    _long_ago()
    create_project(name="silent", is_public=True, cause=BY_SYSTEM)
    written()
    assert sysadmin.get("/auditlog-exts?q=resource=silent").json() == []
    change(values={"skip_audit_log_database": True, "audit_log_forward_endpoint": "tcp://log:514"}, cause=BY_SYSTEM)
    _long_ago()
    written()
    before = AuditEntry.objects.count()
    create_user(username="unseen", password=PASSWORD, cause=BY_SYSTEM)
    written()
    assert AuditEntry.objects.count() == before


def _long_ago() -> None:
    """What was changed was changed an hour ago: what was done before then is told in any case."""
    StoredSetting.objects.update(updated_at=timezone.now() - timedelta(hours=1))


def test_a_deleted_user_is_named_as_he_was_called(make_user: Callable[..., User], sysadmin: Api) -> None:
    gone = make_user("leaving")
    emit(ProjectUpdated(name="x"), cause=of_many(gone.subject))
    delete_user(user=gone, cause=BY_SYSTEM)
    written()
    assert sysadmin.get("/auditlog-exts?q=resource=x").json()[0]["username"] == "leaving"
    assert sysadmin.get("/auditlog-exts?q=operation=delete,resource_type=user").json()[0]["resource"] == "leaving"


def test_signing_in_and_out_of_the_console_is_logged(user: Api, sysadmin: Api) -> None:
    user.client.force_login(User.objects.get(username="somebody"))
    assert 3500 < user.client.session.get_expiry_age() <= 3600
    user.client.logout()
    written()
    found = sysadmin.get("/auditlog-exts?q=username=somebody&sort=id").json()
    assert [entry["operation"] for entry in found] == ["login", "logout"]


def test_a_sign_in_that_failed_is_logged_as_failed(anonymous: Api, sysadmin: Api) -> None:
    anonymous.client.post("/c/login", {"principal": "somebody", "password": "Wrong-1-word"})
    written()
    (failed,) = sysadmin.get("/auditlog-exts?q=operation=login,operation_result=false").json()
    assert (failed["username"], failed["resource"]) == ("anonymous", "somebody")


@pytest.mark.parametrize("query", ["q=secret=x", "sort=event_id", "q=op_time=[yesterday~]", "q=op_time=x"])
def test_what_the_log_cannot_be_asked_is_refused(sysadmin: Api, query: str) -> None:
    assert sysadmin.get(f"/auditlog-exts?{query}").status_code == 400


def test_the_kinds_of_entries_are_listed(user: Api) -> None:
    assert [kind["event_type"] for kind in user.get("/auditlog-exts/events").json()] == list(event_types())
