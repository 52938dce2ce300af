"""What the list pages show, to whom, and in how many queries."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from frontend.queries import COUNT_MAX, PAGE_ROWS
from projects.services import create_project
from rbac.models import User
from rbac.services.users import set_sysadmin
from registry_core.content.models import Artifact, Project, Repository, Tag
from registry_core.digests import Digest
from tests.support.operations import BY_SYSTEM

pytestmark = pytest.mark.django_db
Tagged = Callable[..., Tag]
QUERIES_MAX = 6


def text(client: Client, path: str, **headers: str) -> str:
    """The page as text; it must be there."""
    answer = client.get(path, headers=headers)
    assert answer.status_code == 200
    return answer.content.decode()


def test_project_list_shows_public_and_own_projects_only(console: Client, project: Project) -> None:
    create_project(name="harbour", is_public=True, cause=BY_SYSTEM)
    create_project(name="secret", is_public=False, cause=BY_SYSTEM)
    page = text(console, "/projects")
    assert ("fleet" in page, "harbour" in page, "secret" in page) == (True, True, False)
    assert ("Public" in page, "Private" in page) == (True, True)


def test_administrator_sees_every_project(console: Client, ada: User) -> None:
    create_project(name="secret", is_public=False, cause=BY_SYSTEM)
    set_sysadmin(user=ada, is_sysadmin=True, cause=BY_SYSTEM)
    assert "secret" in text(console, "/projects")
    assert "No repositories yet" in text(console, "/projects/secret")


@pytest.mark.parametrize("path", ["/projects/secret", "/projects/secret/app", "/projects/none", "/projects/a%00b"])
def test_private_project_of_others_looks_like_none(console: Client, path: str) -> None:
    secret = create_project(name="secret", is_public=False, cause=BY_SYSTEM)
    Repository.objects.create(project=secret, name="app")
    answer = console.get(path)
    assert answer.status_code == 404
    assert "Not on this chart" in answer.content.decode()


def test_deleted_things_are_gone_from_the_pages(console: Client, project: Project, tagged: Tagged) -> None:
    tag = tagged("app", "1.0")
    Tag.objects.filter(pk=tag.pk).update(deleted_at=tag.pushed_at)
    assert "docker pull" not in text(console, "/projects/fleet/app")
    Repository.objects.update(deleted_at=tag.pushed_at)
    assert console.get("/projects/fleet/app").status_code == 404
    Project.objects.filter(pk=project.pk).update(deleted_at=tag.pushed_at)
    assert console.get("/projects/fleet").status_code == 404
    assert "fleet" not in text(console, "/projects")


def test_repository_list_counts_tags_and_artifacts(console: Client, tagged: Tagged) -> None:
    tag = tagged("deep/path/app", "1.0")
    Tag.objects.create(repository=tag.repository, artifact=tag.artifact, name="latest")
    page = text(console, "/projects/fleet")
    assert 'href="/projects/fleet/deep/path/app"' in page
    assert re.search(r'"Tags"[^>]*>2<.*"Artifacts"[^>]*>1<.*just now', page, re.DOTALL)


def test_tag_list_shows_digest_size_type_time_and_the_line_to_pull(console: Client, tagged: Tagged) -> None:
    tag = tagged("deep/app", "1.0")
    digest = str(Digest(bytes(tag.artifact.digest)))
    page = text(console, "/projects/fleet/deep/app")
    assert f'data-copy="{digest}"' in page
    assert f">{digest[:19]}<" in page
    for shown in ("3.3 MiB", "OCI image", "3 hours ago", "docker pull testserver/fleet/deep/app:1.0"):
        assert shown in page.replace("\xa0", " ")


def test_empty_pages_say_what_to_type(console: Client, project: Project) -> None:
    Repository.objects.create(project=project, name="app")
    assert "docker push testserver/fleet/app:TAG" in text(console, "/projects/fleet/app")
    Repository.objects.all().delete()
    page = text(console, "/projects/fleet")
    assert "docker login testserver" in page
    assert "docker push testserver/fleet/NAME:TAG" in page
    Project.objects.all().update(deleted_at=project.created_at)
    assert "docker login testserver" in text(console, "/projects")


def test_search_finds_parts_of_names_and_answers_htmx_with_rows_only(console: Client, tagged: Tagged) -> None:
    tagged("app", "1.0-alpine")
    tagged("app", "1.0-bookworm")
    rows = text(console, "/projects/fleet/app?q=alpine", **{"HX-Request": "true"})
    assert ("1.0-alpine" in rows, "1.0-bookworm" in rows, "<html" in rows) == (True, False, False)
    assert "<html" in text(
        console, "/projects/fleet/app?q=alpine", **{"HX-Request": "true", "HX-History-Restore-Request": "true"}
    )


@pytest.mark.parametrize("search", ["<script>alert(1)</script>", "%", "_", "\\", "'", "%00", "%ff", "x" * 5000])
def test_any_search_is_escaped_and_answered(console: Client, project: Project, search: str) -> None:
    page = text(console, f"/projects?q={search}")
    assert "<script>alert" not in page
    assert console.get("/projects", {"q": search, "after": search}).status_code == 200


def test_pages_walk_all_rows_once_and_in_order(console: Client, ada: User) -> None:
    names = [f"p{number:03}" for number in range(2 * PAGE_ROWS + 1)]
    Project.objects.bulk_create(Project(name=name, is_public=True) for name in names)
    seen: list[str] = []
    path: str | None = "/projects"
    while path:
        page = text(console, path)
        seen += re.findall(r'href="/projects/(p\d+)"', page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = following[1].replace("&amp;", "&") if following else None
    assert seen == names


def test_search_is_kept_from_page_to_page(console: Client, ada: User) -> None:
    Project.objects.bulk_create(Project(name=f"p{number:03}", is_public=True) for number in range(PAGE_ROWS + 1))
    Project.objects.create(name="zzz", is_public=True)
    following = re.search(r'rel="next" href="([^"]+)"', text(console, "/projects?q=p"))
    assert following is not None
    assert "zzz" not in text(console, following[1].replace("&amp;", "&"))


def test_counts_stop_where_nobody_reads_on(console: Client, project: Project, tagged: Tagged) -> None:
    tag = tagged("app", "first")
    Tag.objects.bulk_create(
        Tag(repository=tag.repository, artifact=tag.artifact, name=f"t{number}") for number in range(COUNT_MAX + 5)
    )
    assert f"{COUNT_MAX:,}+" in text(console, "/projects/fleet")


@pytest.mark.parametrize("path", ["/projects", "/projects/fleet", "/projects/fleet/app00"])
@pytest.mark.parametrize("rows", [1, PAGE_ROWS])
def test_list_page_takes_six_queries_at_most_however_many_rows(
    console: Client, tagged: Tagged, path: str, rows: int
) -> None:
    for number in range(rows):
        tagged(f"app{number:02}", "1.0")
        tagged("app00", f"2.{number}")
    with CaptureQueriesContext(connection) as queries:
        text(console, path)
    assert len(queries) <= QUERIES_MAX, [query["sql"] for query in queries]


@pytest.mark.parametrize(
    ("artifact_type", "shown"),
    [
        ("application/spdx+json", "application/spdx+json"),
        ("application/vnd.cncf.helm.config.v1+json", "Helm chart"),
        ("application/vnd.oci.image.config.v1+json", "OCI image"),
    ],
)
def test_artifact_is_called_what_it_is(console: Client, tagged: Tagged, artifact_type: str, shown: str) -> None:
    tag = tagged("app", "1.0")
    Artifact.objects.filter(pk=tag.artifact_id).update(artifact_type=artifact_type)
    assert f">{shown}<" in text(console, "/projects/fleet/app")
