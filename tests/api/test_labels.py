"""`/labels` and labels on artifacts by REST."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from projects.models import ArtifactLabel, Label
from projects.services import create_project
from rbac.models import Role
from registry_core.content.models import Project
from tests.api.conftest import Api
from tests.api.content import put, repository_of
from tests.support.operations import BY_SYSTEM

LABELS = "/projects/fleet/repositories/app/artifacts/v1/labels"


def make(api: Api, name: str, project: Project | None = None, **fields: Any) -> int:
    scope = {"scope": "g"} if project is None else {"scope": "p", "project_id": project.pk}
    made = api.post("/labels", {"name": name, **scope, **fields})
    assert made.status_code == 201, made.content
    return int(made["Location"].rpartition("/")[2])


def test_a_label_is_made_looked_at_changed_and_deleted(sysadmin: Api) -> None:
    label = make(sysadmin, "urgent", description="Look soon", color="#C92100")
    shown = sysadmin.get(f"/labels/{label}").json()
    assert (shown["name"], shown["scope"], shown["project_id"], shown["color"]) == ("urgent", "g", 0, "#C92100")
    changed = {"name": "later", "description": "", "color": "", "scope": "p", "project_id": 1}
    assert sysadmin.put(f"/labels/{label}", changed).status_code == 200
    shown = sysadmin.get(f"/labels/{label}").json()
    assert (shown["name"], shown["scope"]) == ("later", "g")
    assert sysadmin.delete(f"/labels/{label}").status_code == 200
    for answer in (sysadmin.get(f"/labels/{label}"), sysadmin.delete(f"/labels/{label}")):
        assert answer.status_code == 404


def test_a_name_is_unique_where_it_is_used(sysadmin: Api, project: Project) -> None:
    make(sysadmin, "urgent")
    other = make(sysadmin, "urgent", project)
    assert sysadmin.post("/labels", {"name": "urgent", "scope": "g"}).status_code == 409
    assert sysadmin.post("/labels", {"name": "urgent", "scope": "p", "project_id": project.pk}).status_code == 409
    make(sysadmin, "later", project)
    assert sysadmin.put(f"/labels/{other}", {"name": "later"}).status_code == 409


def test_lists_are_of_everybody_or_of_one_project(sysadmin: Api, user: Api, project: Project) -> None:
    make(sysadmin, "urgent")
    make(sysadmin, "ready", project)
    assert [label["name"] for label in user.get("/labels?scope=g").json()] == ["urgent"]
    assert [label["name"] for label in sysadmin.get(f"/labels?scope=p&project_id={project.pk}").json()] == ["ready"]
    assert sysadmin.get("/labels?scope=g&name=gent")["X-Total-Count"] == "1"
    for query in ("scope=x", "scope=p", "scope=p&project_id=x", "q=project=1"):
        assert sysadmin.get(f"/labels?{query}").status_code == 400


@pytest.mark.parametrize(
    "body",
    [{"name": ""}, {"name": "x" * 129}, {"name": "a\u0000"}, {"name": "x", "color": "c" * 65},
     {"name": "x", "scope": "x"}, {"name": "x", "description": "d" * 1025}, {"name": 5}, {"name": "x", "scope": "p"}],
)  # fmt: skip
def test_a_label_that_makes_no_sense_is_refused(sysadmin: Api, body: dict[str, Any]) -> None:
    assert sysadmin.post("/labels", {"scope": "g"} | body).status_code == 400


def test_who_may_do_what_with_labels(
    sysadmin: Api, user: Api, anonymous: Api, member: Callable[[Project, Role], Api], project: Project
) -> None:
    everybodys, own = make(sysadmin, "urgent"), make(sysadmin, "ready", project)
    maintainer, guest = member(project, Role.MAINTAINER), member(project, Role.GUEST)
    assert anonymous.get("/labels").status_code == 401
    assert maintainer.post("/labels", {"name": "x", "scope": "g"}).status_code == 403
    assert maintainer.put(f"/labels/{everybodys}", {"name": "x"}).status_code == 403
    assert maintainer.put(f"/labels/{own}", {"name": "done"}).status_code == 200
    assert guest.get(f"/labels/{own}").status_code == 200
    assert guest.delete(f"/labels/{own}").status_code == 403
    # Who may not see the project learns neither of it nor of its labels.
    assert user.get(f"/labels/{own}").content == user.get("/labels/999999").content.replace(b"999999", b"%d" % own)
    hidden, missing = (user.get(f"/labels?scope=p&project_id={key}") for key in (project.pk, 999_999))
    assert (hidden.status_code, hidden.content) == (403, missing.content)


def test_a_label_is_put_on_an_artifact_and_found_by(sysadmin: Api, project: Project) -> None:
    repository = repository_of(project, "app")
    digest = put(repository, "v1")
    put(repository, "v2")
    everybodys, own = make(sysadmin, "urgent"), make(sysadmin, "ready", project)
    for label in (everybodys, own):
        assert sysadmin.post(LABELS, {"id": label}).status_code == 200
    assert sysadmin.post(LABELS, {"id": own}).status_code == 409
    artifacts = LABELS.removesuffix("/v1/labels")
    for q in (f"labels=({everybodys} {own})", f"labels={own}", f"labels={{{own} 77}}"):
        (found,) = sysadmin.get(f"{artifacts}?with_label=true&q={q}").json()
        assert found["digest"] == str(digest)
    assert [label["name"] for label in found["labels"]] == ["ready", "urgent"]
    assert sysadmin.get(f"{artifacts}?q=labels=({own} 77)").json() == []
    assert sysadmin.delete(f"{LABELS}/{own}").status_code == 200
    assert sysadmin.delete(f"{LABELS}/{own}").status_code == 404


def test_a_label_of_another_project_fits_no_artifact(sysadmin: Api, project: Project) -> None:
    put(repository_of(project, "app"), "v1")
    foreign = make(sysadmin, "ready", create_project(name="other", is_public=True, cause=BY_SYSTEM))
    for label in (foreign, 999_999):
        assert sysadmin.post(LABELS, {"id": label}).status_code == 404
    for body in ({}, {"id": 0}, {"id": "1"}, {"id": 1 << 63}):
        assert sysadmin.post(LABELS, body).status_code == 400


def test_a_deleted_label_leaves_the_artifacts(sysadmin: Api, project: Project) -> None:
    put(repository_of(project, "app"), "v1")
    label = make(sysadmin, "urgent")
    sysadmin.post(LABELS, {"id": label})
    sysadmin.delete(f"/labels/{label}")
    assert not ArtifactLabel.objects.exists()
    assert not Label.objects.exists()
    assert sysadmin.get(LABELS.removesuffix("/labels") + "?with_label=true").json()["labels"] is None


def test_a_guest_may_not_label(member: Callable[[Project, Role], Api], sysadmin: Api, project: Project) -> None:
    put(repository_of(project, "app"), "v1")
    label = make(sysadmin, "urgent")
    assert member(project, Role.GUEST).post(LABELS, {"id": label}).status_code == 403
    assert member(project, Role.DEVELOPER).post(LABELS, {"id": label}).status_code == 200
