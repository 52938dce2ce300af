"""Immutability rules and legal holds by REST."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from projects.services import create_project
from rbac.models import Role
from registry_core.content.models import Artifact, Project
from tests.api.conftest import Api
from tests.api.content import put, repository_of
from tests.support.operations import BY_SYSTEM

RULES = "/projects/fleet/immutabletagrules"
NAMED = {"X-Is-Resource-Name": "true"}
HOLD = "/projects/fleet/repositories/app/artifacts/v1/hold"


@pytest.fixture
def project(db: None) -> Project:
    project = create_project(name="fleet", is_public=True, cause=BY_SYSTEM)
    put(repository_of(project, "app"), "v1", "dev")
    put(repository_of(project, "deep/app"), "v2")
    return project


def rule(tags: str = "v*", repositories: str = "**", **values: Any) -> dict[str, Any]:
    """A rule as the contract's clients send it."""
    return {
        "disabled": False,
        "action": "immutable",
        "params": {},
        "template": "immutable_template",
        "tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": tags}],
        "scope_selectors": {
            "repository": [{"kind": "doublestar", "decoration": "repoMatches", "pattern": repositories}]
        },
        **values,
    }


def create(api: Api, body: dict[str, Any]) -> int:
    made = api.post(RULES, body)
    assert made.status_code == 201, made.content
    return int(made["Location"].rpartition("/")[2])


def immutable_tags(api: Api, query: str = "") -> set[str]:
    tags = api.get(f"/projects/fleet/repositories/app/artifacts/v1/tags{query}").json()
    return {tag["name"] for tag in tags if tag["immutable"]}


def shown(api: Api, path: str) -> set[str]:
    found = api.get(path).json()
    artifacts = found if isinstance(found, list) else [found]
    return {tag["name"] for artifact in artifacts for tag in artifact["tags"] or () if tag["immutable"]}


def test_a_rule_is_created_listed_changed_disabled_and_deleted(sysadmin: Api, project: Project) -> None:
    number = create(sysadmin, rule())
    (listed,) = sysadmin.get(RULES, **NAMED).json()
    selector = {"kind": "doublestar", "decoration": "matches", "pattern": "v*", "extras": ""}
    assert listed == {
        **rule(), "id": number, "priority": 0, "tag_selectors": [selector],
        "scope_selectors": {"repository": [selector | {"decoration": "repoMatches", "pattern": "**"}]},
    }  # fmt: skip
    assert sysadmin.delete("/projects/fleet/repositories/app/artifacts/v1/tags/v1").status_code == 412
    for body in ({"id": number, "disabled": True}, rule(disabled=True)):
        assert sysadmin.put(f"{RULES}/{number}", body).status_code == 200
        assert sysadmin.get(f"{RULES}?q=disabled=true").json()[0]["tag_selectors"] == [selector]
    assert sysadmin.put(f"{RULES}/{number}", rule("dev")).status_code == 200
    assert immutable_tags(sysadmin) == {"dev"}
    assert sysadmin.delete(f"{RULES}/{number}").status_code == 200
    assert sysadmin.delete(f"{RULES}/{number}").status_code == 404
    assert sysadmin.get(RULES)["X-Total-Count"] == "0"
    assert immutable_tags(sysadmin) == set()


def test_deletes_are_refused_with_412_and_the_reason(sysadmin: Api, project: Project) -> None:
    number = create(sysadmin, rule())
    app = "/projects/fleet/repositories/app"
    for path in (f"{app}/artifacts/dev/tags/v1", f"{app}/artifacts/dev", app):
        refused = sysadmin.delete(path) if "tags" not in path else sysadmin.delete(f"{app}/artifacts/v1/tags/v1")
        assert refused.status_code == 412
        (error,) = refused.json()["errors"]
        assert error["code"] == "PRECONDITION"
        assert f"the tag v1 of fleet/app is immutable by rule {number}" in error["message"]
    assert sysadmin.delete(f"{app}/artifacts/v1/tags/dev").status_code == 200


def test_lists_say_which_tags_are_immutable(sysadmin: Api, anonymous: Api, project: Project) -> None:
    lists = ("/projects/fleet/repositories/app/artifacts", "/projects/fleet/repositories/app/artifacts/v1")
    for path in (*lists, "/projects/fleet/artifacts"):
        assert shown(sysadmin, path) == set()
    create(sysadmin, rule("v*", "app"))
    for path in (*lists, "/projects/fleet/artifacts"):
        assert shown(sysadmin, path) == {"v1"}
        assert shown(anonymous, path) == {"v1"}
    assert immutable_tags(sysadmin, "?q=immutable=true") == {"v1"}
    answer = sysadmin.get("/projects/fleet/repositories/app/artifacts/v1/tags?q=immutable=false")
    assert (answer["X-Total-Count"], answer.json()[0]["name"]) == ("1", "dev")


def test_a_preview_lists_what_a_rule_protects(sysadmin: Api, project: Project) -> None:
    number = create(sysadmin, rule("{v,w}*", disabled=True))
    for answer in (sysadmin.get(f"{RULES}/{number}/preview"), sysadmin.post(f"{RULES}/preview", rule("v?"))):
        assert [(tag["repository_name"], tag["name"]) for tag in answer.json()] == [
            ("fleet/deep/app", "v2"), ("fleet/app", "v1"),
        ]  # fmt: skip
        assert answer["X-Total-Count"] == "2"
    page = sysadmin.post(f"{RULES}/preview?page_size=1&sort=name", rule("**"))
    assert ([tag["name"] for tag in page.json()], page["X-Total-Count"]) == (["dev"], "3")
    assert 'rel="next"' in page["Link"]
    excluded = [{"kind": "doublestar", "decoration": "repoExcludes", "pattern": "deep/**"}]
    only = sysadmin.post(f"{RULES}/preview", rule("v*", scope_selectors={"repository": excluded})).json()
    assert [tag["name"] for tag in only] == ["v1"]
    assert sysadmin.get(f"{RULES}?q=id={number}").json()[0]["id"] == number, "a preview creates nothing"


@pytest.mark.parametrize(
    "body",
    [
        {}, rule(""), rule("v[", "**"), rule("{" * 200), rule("{a,b}" * 60), rule("a" * 600), rule("v\n"),
        rule(action="retain"), rule(template="always"), rule(tag_selectors=[]), rule(scope_selectors={}),
        rule(scope_selectors={"project": []}), rule(scope_selectors={"repository": []}), rule(priority=2**40),
        rule(tag_selectors=rule()["tag_selectors"] * 6), rule(disabled="no"),
        rule(tag_selectors=[{"kind": "regex", "decoration": "matches", "pattern": "v"}]),
        rule(tag_selectors=[{"kind": "doublestar", "decoration": "repoMatches", "pattern": "v"}]),
        rule(tag_selectors=[{"kind": "doublestar", "decoration": "matches", "pattern": "v", "extras": "{"}]),
        rule(tag_selectors=[{"kind": "doublestar", "decoration": "matches", "pattern": "v", "extras": "[1]"}]),
        rule(tag_selectors=[None]), rule(tag_selectors="v*"),
    ],
)  # fmt: skip
def test_a_rule_that_makes_no_sense_is_400_everywhere(sysadmin: Api, project: Project, body: dict[str, Any]) -> None:
    number = create(sysadmin, rule())
    assert sysadmin.post(RULES, body).status_code == 400
    assert sysadmin.post(f"{RULES}/preview", body).status_code == 400
    if body:  # nothing is changed by nothing
        assert sysadmin.put(f"{RULES}/{number}", body).status_code == 400
    assert sysadmin.get(RULES)["X-Total-Count"] == "1"


def test_a_second_equal_rule_is_409(sysadmin: Api, project: Project) -> None:
    create(sysadmin, rule())
    assert sysadmin.post(RULES, rule(disabled=True)).status_code == 409
    other = create(sysadmin, rule("w*"))
    assert sysadmin.put(f"{RULES}/{other}", rule()).status_code == 409


def test_a_hold_is_set_shown_listed_and_released(
    sysadmin: Api, anonymous: Api, member: Callable[[Project, Role], Api], project: Project
) -> None:
    maintainer, developer = member(project, Role.MAINTAINER), member(project, Role.DEVELOPER)
    assert sysadmin.get(HOLD).status_code == 404
    assert developer.put(HOLD, {"reason": "mine"}).status_code == 403
    assert anonymous.get(HOLD).status_code == 401
    for body in ({}, {"reason": ""}, {"reason": "x" * 1025}, {"reason": 5}, {"reason": "a\u0000"}):
        assert maintainer.put(HOLD, body).status_code == 400
    assert maintainer.put(HOLD, {"reason": "case 17"}).status_code == 200
    shown = maintainer.get(HOLD).json()
    assert (shown["reason"], shown["repository_name"], shown["digest"][:7]) == ("case 17", "fleet/app", "sha256:")
    assert shown["set_by"]
    listed = maintainer.get("/projects/fleet/holds?q=reason=~17&sort=-set_time")
    assert (listed.json(), listed["X-Total-Count"]) == ([shown], "1")
    assert developer.get("/projects/fleet/holds").status_code == 403
    app = "/projects/fleet/repositories/app"
    for path in (f"{app}/artifacts/v1/tags/v1", f"{app}/artifacts/v1", app):
        refused = sysadmin.delete(path)
        assert refused.status_code == 412
        assert "case 17" not in refused.json()["errors"][0]["message"]
    assert developer.delete(HOLD).status_code == 403
    assert maintainer.delete(HOLD).status_code == 200
    assert maintainer.delete(HOLD).status_code == 404
    assert sysadmin.delete(app).status_code == 200
    assert Artifact.objects.filter(repository__name="app", deleted_at=None).count() == 0
