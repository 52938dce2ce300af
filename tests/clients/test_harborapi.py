"""`harborapi`, the public Python client of the REST contract, unmodified: an administrator's day.

The client checks every answer against its own models of the contract, and raises for each that does not fit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from harborapi import HarborAsyncClient
from harborapi.exceptions import HarborAPIException, NotFound, PreconditionFailed
from harborapi.models import models

from tests.support.jobs import audit_log_written
from tests.support.people import admin
from tests.support.registry import Image, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server

PULL_AND_PUSH = [models.Access(resource="repository", action=action) for action in ("pull", "push")]


@dataclass
class Day:
    """The administrator's client, and the names of what the day is about."""

    api: HarborAsyncClient
    server: Server
    project: str

    @property
    def user(self) -> str:
        return f"{self.project}-ann"

    def push(self, repository: str, image: Image) -> None:
        headers = sign_in(self.server, admin(self.server), f"repository:{repository}:pull,push")
        with httpx.Client(base_url=self.server.url, headers=headers, timeout=30) as http:
            for blob in image.blobs:
                push_blob(http, repository, blob)
            put_manifest(http, repository, "v1", image)


@pytest.fixture
def day(server: Server, unique: str) -> Day:
    url = f"{server.url}/api/v2.0"
    api = HarborAsyncClient(url=url, username="admin", secret=server.admin_password, retry=None, timeout=30)
    return Day(api, server, unique)


def test_an_administrators_day_through_harborapi(day: Day) -> None:
    image = make_image(layer_bytes=700)

    async def work() -> None:
        await _opens_a_project(day)
        await _looks_after_people(day)
        await _gives_a_robot_its_secret(day)
        day.push(f"{day.project}/team/app", image)
        await _looks_through_images(day, image)
        await _keeps_the_books(day)
        await _tidies_up(day, image)
        await day.api.client.aclose()

    with audit_log_written(day.server):
        in_a_thread_of_its_own(work)


def in_a_thread_of_its_own(work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` to its end. Playwright leaves an event loop running in the thread of the tests that used a browser."""

    async def awaited() -> None:
        await work()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, awaited()).result()


async def _opens_a_project(day: Day) -> None:
    metadata = models.ProjectMetadata(public="false", auto_scan="true")
    location = await day.api.create_project(models.ProjectReq(project_name=day.project, metadata=metadata))
    assert location.startswith("/api/v2.0/projects/")
    assert await day.api.project_exists(day.project)
    assert not await day.api.project_exists(f"{day.project}-no")
    project = await day.api.get_project(day.project)
    assert (project.name, project.repo_count, project.owner_name) == (day.project, 0, "admin")
    assert project.metadata is not None
    assert project.metadata.auto_scan == "true"
    await day.api.update_project(day.project, models.ProjectReq(metadata=models.ProjectMetadata(severity="high")))
    await day.api.update_project_metadata_entry(day.project, "auto_scan", {"auto_scan": "false"})
    kept = await day.api.get_project_metadata(day.project)
    assert (kept.severity, kept.auto_scan) == ("high", "false")
    assert [found.name for found in await day.api.get_projects(query=f"name={day.project}")] == [day.project]


async def _looks_after_people(day: Day) -> None:
    request = models.UserCreationReq(
        username=day.user, email=f"{day.user}@example.org", realname="Ann", password="Portolan-1"
    )
    location = await day.api.create_user(request)
    user = await day.api.get_user_by_username(day.user)
    assert user.user_id is not None
    assert location.endswith(f"/{user.user_id}")
    assert (user.realname, user.sysadmin_flag) == ("Ann", False)
    await day.api.update_user(
        user.user_id, models.UserProfile(realname="Ann B.", email=f"{day.user}@example.org", comment="")
    )
    await day.api.set_user_admin(user.user_id, True)
    assert (await day.api.get_user(user.user_id)).sysadmin_flag is True
    await day.api.set_user_admin(user.user_id, False)
    assert [found.username for found in await day.api.get_users(query=f"username={day.user}")] == [day.user]
    await day.api.add_project_member_user(day.project, day.user, 2)
    members = await day.api.get_project_members(day.project, entity_name=day.user)
    assert [(member.entity_name, member.role_name) for member in members] == [(day.user, "developer")]
    member_id = members[0].id
    assert member_id is not None
    await day.api.update_project_member_role(day.project, member_id, models.RoleRequest(role_id=4))
    assert (await day.api.get_project_member(day.project, member_id)).role_id == 4
    assert (await day.api.get_current_user()).username == "admin"
    project = await day.api.get_project(day.project)
    assert await day.api.get_current_user_permissions(scope=f"/project/{project.project_id}", relative=True)


async def _gives_a_robot_its_secret(day: Day) -> None:
    permission = models.RobotPermission(kind="project", namespace=day.project, access=PULL_AND_PUSH)
    created = await day.api.create_robot(
        models.RobotCreate(name="ci", level="project", duration=30, permissions=[permission])
    )
    assert created.name == f"robot${day.project}+ci"
    assert created.secret
    assert created.id
    robot = await day.api.get_robot(created.id)
    assert robot.permissions is not None
    assert len(robot.permissions[0].access or []) == 2
    chosen = await day.api.refresh_robot_secret(created.id, "Portolan-robot-1")
    assert chosen.secret in {"", None, "Portolan-robot-1"}
    await day.api.update_robot(created.id, robot.model_copy(update={"disable": True, "description": "stopped"}))
    assert (await day.api.get_robot(created.id)).disable is True
    project = await day.api.get_project(day.project)
    listed = await day.api.get_robots(query=f"Level=project,ProjectID={project.project_id}")
    assert [found.name for found in listed] == [created.name]
    await day.api.delete_robot(created.id)
    with pytest.raises(NotFound):
        await day.api.get_robot(created.id)


async def _looks_through_images(day: Day, image: Image) -> None:
    name, repository = day.project, "team/app"
    await day.api.update_repository(name, repository, models.Repository(description="the application"))
    shown = await day.api.get_repository(name, repository)
    assert (shown.name, shown.description, shown.artifact_count) == (f"{name}/team/app", "the application", 1)
    assert [found.name for found in await day.api.get_repositories(name)] == [f"{name}/team/app"]
    project = await day.api.get_project(name)
    await day.api.create_label(models.Label(name="released", color="#00AA00", scope="p", project_id=project.project_id))
    label = (await day.api.get_labels(scope="p", project_id=project.project_id))[0]
    await day.api.add_artifact_label(name, repository, image.digest, label)
    await day.api.create_artifact_tag(name, repository, "v1", models.Tag(name="stable"))
    everything: dict[str, Any] = {
        "with_label": True,
        "with_accessory": True,
        "with_scan_overview": True,
        "with_immutable_status": True,
    }
    listed = await day.api.get_artifacts(name, repository, with_sbom_overview=True, **everything)
    assert [(found.digest, found.type) for found in listed] == [(image.digest, "IMAGE")]
    assert sorted(tag.name or "" for tag in listed[0].tags or []) == ["stable", "v1"]
    assert [found.name for found in listed[0].labels or []] == ["released"]
    assert (await day.api.get_artifact(name, repository, "stable", **everything)).digest == image.digest
    assert await day.api.get_artifact_accessories(name, repository, image.digest) == []
    await day.api.get_artifact_build_history(name, repository, image.digest)
    await day.api.copy_artifact(name, "copies", f"{name}/team/app@{image.digest}")
    assert (await day.api.get_artifact(name, "copies", image.digest)).digest == image.digest
    await day.api.delete_artifact_tag(name, repository, "v1", "stable")
    assert [tag.name for tag in await day.api.get_artifact_tags(name, repository, image.digest)] == ["v1"]
    await day.api.delete_artifact_label(name, repository, image.digest, label.id or 0)
    await day.api.delete_label(label.id or 0)
    assert await day.api.get_project_artifacts(name)


async def _keeps_the_books(day: Day) -> None:
    project = await day.api.get_project(day.project)
    quota = (await day.api.get_quotas(reference="project", reference_id=str(project.project_id)))[0]
    assert quota.id is not None
    await day.api.update_quota(quota.id, models.QuotaUpdateReq(hard=models.ResourceList({"storage": 1 << 30})))
    changed = await day.api.get_quota(quota.id)
    assert changed.hard is not None
    assert changed.used is not None
    assert changed.hard.root == {"storage": 1 << 30}
    assert (changed.used.root or {})["storage"] >= 700
    summary = await day.api.get_project_summary(day.project)
    assert (summary.repo_count, summary.maintainer_count) == (2, 1)
    hits = await day.api.search(day.project)
    assert [found.name for found in hits.project or []] == [day.project]
    assert len(hits.repository or []) == 2
    counts = await day.api.get_statistics()
    assert (counts.total_project_count or 0) >= 1
    await _until_told(lambda: day.api.get_audit_logs(query=f"resource=~{day.project}"))
    await _until_told(lambda: day.api.get_project_logs(day.project))
    await _looks_at_the_system(day)


async def _until_told(ask: Callable[[], Awaitable[list[models.AuditLog]]]) -> None:
    """Entries come a moment after what they tell of."""
    deadline = time.monotonic() + 30
    while not await ask():
        assert time.monotonic() < deadline, "nothing came into the audit log"
        await asyncio.sleep(0.1)


async def _looks_at_the_system(day: Day) -> None:
    assert await day.api.ping() == "Pong"
    assert (await day.api.health_check()).status == "healthy"
    assert (await day.api.get_system_info()).auth_mode == "db_auth"
    await day.api.get_system_volume_info()
    await day.api.get_permissions()
    await day.api.update_config(models.Configurations(banner_message=f"hello {day.project}"))
    settings = await day.api.get_config()
    assert settings.banner_message is not None
    assert settings.banner_message.value == f"hello {day.project}"
    with pytest.raises(HarborAPIException):
        await day.api.update_config(models.Configurations(token_expiration=-5))


async def _tidies_up(day: Day, image: Image) -> None:
    refused = await day.api.get_project_deletable(day.project)
    assert refused.deletable is False
    with pytest.raises(PreconditionFailed):
        await day.api.delete_project(day.project)
    await day.api.delete_artifact(day.project, "team/app", image.digest)
    with pytest.raises(NotFound):
        await day.api.get_artifact(day.project, "team/app", image.digest)
    for repository in ("team/app", "copies"):
        await day.api.delete_repository(day.project, repository)
    for member in await day.api.get_project_members(day.project, entity_name=day.user):
        await day.api.remove_project_member(day.project, member.id or 0)
    await day.api.delete_project(day.project)
    assert not await day.api.project_exists(day.project)
    user = await day.api.get_user_by_username(day.user)
    await day.api.delete_user(user.user_id or 0)
    with pytest.raises(NotFound):
        await day.api.get_user(user.user_id or 0)
