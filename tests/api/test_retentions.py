"""`/retentions`: policies, dry runs that explain, runs, and what is deleted in advance and afterwards."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from projects.holds.operations import set_hold
from projects.models import RetentionPolicy
from projects.retention.evaluation import evaluate
from registry_core.content.errors import ContentInUse
from registry_core.content.manifests import delete_manifest
from registry_core.content.models import Artifact, Project, Tag
from registry_core.content.repositories import RepositoryRef
from registry_core.content.tags import create_tag
from registry_core.content.untagged import refuse_wanted
from registry_core.digests import Digest
from registry_core.events.models import Event
from registry_core.jobs import executions
from registry_core.jobs.models import Execution, Schedule, Task
from registry_core.jobs.worker import Worker
from tests.api.conftest import Api
from tests.api.content import put, put_about, put_index, repository_of
from tests.support.operations import BY_SYSTEM


def selector(decoration: str, pattern: str, extras: str = "") -> dict[str, str]:
    return {"kind": "doublestar", "decoration": decoration, "pattern": pattern, "extras": extras}


def rule(template: str, number: int | None = None, *, tags: str = "**", untagged: bool = True, **more: Any) -> Any:
    extras = '{"untagged":true}' if untagged else '{"untagged":false}'
    return {
        "action": "retain",
        "template": template,
        "params": {} if number is None else {template: number},
        "tag_selectors": [selector("matches", tags, extras)],
        "scope_selectors": {"repository": [selector("repoMatches", "**")]},
    } | more


def policy(project: Project, *rules: Any, cron: str = "") -> dict[str, Any]:
    return {
        "algorithm": "or",
        "rules": list(rules),
        "trigger": {"kind": "Schedule", "settings": {"cron": cron}},
        "scope": {"level": "project", "ref": project.pk},
    }


def create(sysadmin: Api, project: Project, *rules: Any, cron: str = "") -> str:
    """Create a policy; returns its path."""
    made = sysadmin.post("/retentions", policy(project, *rules, cron=cron))
    assert made.status_code == 201, made.content
    return str(made["Location"]).removeprefix("/api/v2.0")


def run(sysadmin: Api, path: str, *, dry_run: bool = False) -> list[dict[str, Any]]:
    """Run a policy to its end; returns its tasks."""
    started = sysadmin.post(f"{path}/executions", {"dry_run": dry_run})
    assert started.status_code == 201, started.content
    Worker(1).work()
    tasks = sysadmin.get(str(started["Location"]).removeprefix("/api/v2.0") + "/tasks")
    assert tasks.status_code == 200, tasks.content
    return list(tasks.json())


def age(digest: Digest, *, days: float, pulled_days: float | None = None) -> None:
    """An artifact, and its tags, become so many days old."""
    moment = timezone.now() - dt.timedelta(days=days)
    pulled = None if pulled_days is None else timezone.now() - dt.timedelta(days=pulled_days)
    Artifact.objects.filter(digest=digest.raw).update(pushed_at=moment, pulled_at=pulled)
    Tag.objects.filter(artifact__digest=digest.raw).update(pushed_at=moment)


def tags_left() -> set[str]:
    return set(Tag.objects.filter(deleted_at=None).values_list("name", flat=True))


def fill(repository: RepositoryRef, count: int) -> list[Digest]:
    """Tags v0, v1, ... of different artifacts; v0 is the oldest."""
    digests = [put(repository, f"v{number}", config=f'{{"n":{number}}}'.encode()) for number in range(count)]
    for number, digest in enumerate(digests):
        age(digest, days=count - number)
    return digests


@pytest.mark.parametrize(
    ("kept", "left"),
    [
        (rule("latestPushedK", 2), {"v3", "v4"}),
        (rule("latestPulledN", 1), {"v1"}),
        (rule("latestActiveK", 2), {"v1", "v4"}),
        (rule("nDaysSinceLastPush", 3), {"v3", "v4"}),
        (rule("nDaysSinceLastPull", 1), {"v1"}),
        (rule("lastXDays", 2), {"v1", "v4"}),
        (rule("always"), {"v0", "v1", "v2", "v3", "v4"}),
        (rule("always", tags="v{1,2}"), {"v1", "v2"}),
        (rule("latestPushedK", 0), set()),
    ],
)
def test_each_template_retains_what_it_says(
    sysadmin: Api, project: Project, repository: RepositoryRef, kept: Any, left: set[str]
) -> None:
    digests = fill(repository, 5)
    age(digests[1], days=4, pulled_days=0.5)
    if kept["template"].startswith("nDaysSinceLastPush"):
        age(digests[3], days=2.9)
    path = create(sysadmin, project, kept)
    (task,) = run(sysadmin, path)
    assert (task["status"], task["total"], task["retained"]) == ("Success", 5, len(left))
    assert tags_left() == left


def test_what_any_rule_retains_stays(sysadmin: Api, project: Project, repository: RepositoryRef) -> None:
    fill(repository, 4)
    path = create(sysadmin, project, rule("latestPushedK", 1), rule("always", tags="v0"))
    run(sysadmin, path)
    assert tags_left() == {"v0", "v3"}


def test_a_disabled_rule_and_a_repository_without_a_rule_change_nothing(
    sysadmin: Api, project: Project, repository: RepositoryRef
) -> None:
    fill(repository, 2)
    other = rule("latestPushedK", 0) | {"scope_selectors": {"repository": [selector("repoMatches", "nowhere/**")]}}
    path = create(sysadmin, project, rule("latestPushedK", 0, disabled=True), other)
    assert run(sysadmin, path) == []
    assert tags_left() == {"v0", "v1"}


def test_a_dry_run_deletes_nothing_and_gives_the_reason_for_each_artifact(
    sysadmin: Api, project: Project, repository: RepositoryRef
) -> None:
    fill(repository, 2)
    path = create(sysadmin, project, rule("latestPushedK", 1))
    (task,) = run(sysadmin, path, dry_run=True)
    assert (task["total"], task["retained"], task["repository"]) == (2, 1, repository.name.path)
    assert tags_left() == {"v0", "v1"}
    (execution,) = sysadmin.get(f"{path}/executions").json()
    assert (execution["dry_run"], execution["status"], execution["trigger"]) == (True, "Success", "Manual")
    log = sysadmin.get(f"{path}/executions/{execution['id']}/tasks/{task['id']}").content.decode()
    assert "(v1): rule 1 (the most recently pushed 1 artifacts)" in log
    assert "(v0): no rule retains it" in log
    assert "would delete 1 of 2" in log


def test_untagged_artifacts_are_deleted_unless_a_rule_is_about_them(
    sysadmin: Api, project: Project, repository: RepositoryRef
) -> None:
    age(put(repository, "moves", config=b'{"n":1}'), days=1)
    put(repository, "moves", config=b'{"n":2}')
    path = create(sysadmin, project, rule("always", untagged=False))
    assert [(task["total"], task["retained"]) for task in run(sysadmin, path, dry_run=True)] == [(2, 1)]
    assert sysadmin.put(path, policy(project, rule("always", untagged=True))).status_code == 200
    assert [(task["total"], task["retained"]) for task in run(sysadmin, path)] == [(2, 2)]


def test_children_follow_their_index(sysadmin: Api, project: Project, repository: RepositoryRef) -> None:
    old = put(repository, config=b'{"n":1}')
    age(old, days=9)
    new = put(repository, config=b'{"n":2}')
    age(put_index(repository, [old], "old"), days=9)
    put_index(repository, [new], "new")
    path = create(sysadmin, project, rule("latestPushedK", 1, untagged=False))
    (task,) = run(sysadmin, path)
    assert (task["total"], task["retained"]) == (2, 1)
    living = {bytes(raw) for raw in Artifact.objects.filter(deleted_at=None).values_list("digest", flat=True)}
    assert new.raw in living
    assert old.raw not in living


def test_immutable_and_held_artifacts_stay(sysadmin: Api, project: Project, repository: RepositoryRef) -> None:
    digests = fill(repository, 3)
    immutable = {
        "template": "immutable_template",
        "action": "immutable",
        "tag_selectors": [selector("matches", "v0")],
        "scope_selectors": {"repository": [selector("repoMatches", "**")]},
    }
    assert sysadmin.post(f"/projects/{project.pk}/immutabletagrules", immutable).status_code == 201
    set_hold(repository=repository, digest=digests[1], reason="a lawsuit", cause=BY_SYSTEM)
    path = create(sysadmin, project, rule("latestPushedK", 0))
    (task,) = run(sysadmin, path)
    assert task["retained"] == 2
    assert tags_left() == {"v0", "v1"}
    (execution,) = sysadmin.get(f"{path}/executions").json()
    log = sysadmin.get(f"{path}/executions/{execution['id']}/tasks/{task['id']}").content.decode()
    assert "its tag v0 is immutable" in log
    assert "it is under legal hold" in log


def test_a_retag_counts_as_use_and_one_during_the_run_saves_the_artifact(
    sysadmin: Api, project: Project, repository: RepositoryRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = fill(repository, 2)
    create_tag(repository=repository, tag="again", digest=first, cause=BY_SYSTEM)
    path = create(sysadmin, project, rule("latestPushedK", 1))

    def evaluate_then_tag(*arguments: Any, **options: Any) -> Any:
        verdicts = evaluate(*arguments, **options)
        create_tag(repository=repository, tag="late", digest=second, cause=BY_SYSTEM)
        return verdicts

    monkeypatch.setattr("projects.retention.running.evaluate", evaluate_then_tag)
    (task,) = run(sysadmin, path)
    assert (task["total"], task["retained"]) == (2, 2)
    assert tags_left() == {"again", "v0", "v1", "late"}


def run_with(
    sysadmin: Api, path: str, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]
) -> list[dict[str, Any]]:
    """Run a policy; something happens after a repository was evaluated, and before anything is deleted."""

    def evaluate_then(*arguments: Any, **options: Any) -> Any:
        verdicts = evaluate(*arguments, **options)
        meanwhile()
        return verdicts

    monkeypatch.setattr("projects.retention.running.evaluate", evaluate_then)
    return run(sysadmin, path)


def test_what_a_run_deleted_names_who_started_it(sysadmin: Api, project: Project, repository: RepositoryRef) -> None:
    fill(repository, 1)
    run(sysadmin, create(sysadmin, project, rule("latestPushedK", 0)))
    (deletion,) = sysadmin.get(f"/projects/{project.pk}/trash").json()
    assert (deletion["deleted_by"], deletion["reason"]) == ("root-admin", "retention")


def test_a_manifest_that_was_pushed_lately_is_not_deleted_for_having_no_tag(repository: RepositoryRef) -> None:
    digest = put(repository, config=b"{}")
    with pytest.raises(ContentInUse, match="pushed lately"):
        delete_manifest(repository=repository, digest=digest, cause=BY_SYSTEM, unless=refuse_wanted(repository, digest))
    age(digest, days=1)
    delete_manifest(repository=repository, digest=digest, cause=BY_SYSTEM, unless=refuse_wanted(repository, digest))


def test_an_artifact_that_is_deleted_and_pushed_again_during_the_run_stays(
    sysadmin: Api, project: Project, repository: RepositoryRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    (digest,) = fill(repository, 1)

    def push_again() -> None:
        delete_manifest(repository=repository, digest=digest, cause=BY_SYSTEM)
        assert put(repository, "v0", config=b'{"n":0}') == digest

    path = create(sysadmin, project, rule("latestPushedK", 0))
    run_with(sysadmin, path, monkeypatch, push_again)
    assert tags_left() == {"v0"}


def test_a_pull_during_the_run_saves_the_artifact(
    sysadmin: Api, project: Project, repository: RepositoryRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(repository, 1)
    path = create(sysadmin, project, rule("nDaysSinceLastPull", 1))
    run_with(sysadmin, path, monkeypatch, lambda: Artifact.objects.update(pulled_at=timezone.now()))
    assert tags_left() == {"v0"}


def test_rules_that_are_changed_during_the_run_are_those_that_count(
    sysadmin: Api, project: Project, repository: RepositoryRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(repository, 1)
    path = create(sysadmin, project, rule("latestPushedK", 0))
    run_with(
        sysadmin, path, monkeypatch, lambda: sysadmin.put(path, policy(project, rule("always"))).status_code == 200
    )
    assert tags_left() == {"v0"}
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs_task SET run_at = now()")
    Worker(1).work()
    assert tags_left() == {"v0"}


def test_the_manifests_of_a_push_in_progress_are_neither_counted_nor_deleted(
    sysadmin: Api, project: Project, repository: RepositoryRef
) -> None:
    fill(repository, 1)
    children = [put(repository, config=f'{{"child":{number}}}'.encode()) for number in range(3)]
    path = create(sysadmin, project, rule("latestPushedK", 1))
    assert [(task["total"], task["retained"]) for task in run(sysadmin, path)] == [(1, 1)]
    put_index(repository, children, "multi")


def test_a_tag_of_an_accessory_counts_as_one_of_its_subject(
    sysadmin: Api, project: Project, repository: RepositoryRef
) -> None:
    subject, _ = fill(repository, 2)
    put_about(repository, subject, "application/vnd.example.report", "release-1")
    path = create(sysadmin, project, rule("always", tags="release-*"))
    run(sysadmin, path)
    assert tags_left() == {"v0", "release-1"}


def test_a_run_that_is_stopped_in_the_middle_leaves_a_receipt(
    sysadmin: Api, project: Project, repository: RepositoryRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(repository, 3)
    path = create(sysadmin, project, rule("latestPushedK", 0))

    def delete_then_stop(**values: Any) -> None:
        delete_manifest(**values)
        for execution in Execution.objects.filter(kind="RETENTION"):
            executions.stop(execution.pk)

    monkeypatch.setattr("projects.retention.running.delete_manifest", delete_then_stop)
    run(sysadmin, path)
    assert len(tags_left()) == 2
    assert Event.objects.get(kind="repository.retention.applied").payload["deleted"] == 1


def test_what_will_be_deleted_is_shown_in_advance_and_a_receipt_afterwards(
    sysadmin: Api, project: Project, repository: RepositoryRef
) -> None:
    digests = fill(repository, 3)
    path = create(sysadmin, project, rule("nDaysSinceLastPush", 1), cron="0 0 0 * * *")
    shown = sysadmin.get(f"{path}/upcoming").json()
    assert {each["digest"] for each in shown} == {str(digest) for digest in digests}
    schedule = Schedule.objects.get(kind="RETENTION")
    assert schedule.next_at
    assert {each["time"] for each in shown} == {schedule.next_at.isoformat(timespec="milliseconds")[:-6] + "Z"}
    assert sysadmin.put(path, policy(project, rule("latestPushedK", 2))).status_code == 200
    run(sysadmin, path)
    receipt = Event.objects.get(kind="repository.retention.applied").payload
    assert (receipt["deleted"], receipt["retained"]) == (1, 2)
    assert receipt["artifacts"] == [f"{digests[0]} (v0)"]


def test_the_policy_is_shown_as_it_was_sent_and_in_the_metadata_of_its_project(sysadmin: Api, project: Project) -> None:
    path = create(sysadmin, project, rule("latestPulledN", 3), cron="0 30 2 * * *")
    shown = sysadmin.get(path).json()
    assert (shown["algorithm"], shown["scope"]) == ("or", {"level": "project", "ref": project.pk})
    assert shown["trigger"]["settings"]["cron"] == "0 30 2 * * *"
    (kept,) = shown["rules"]
    assert (kept["template"], kept["params"]) == ("latestPulledN", {"latestPulledN": 3})
    assert kept["scope_selectors"]["repository"][0]["pattern"] == "**"
    number = path.rpartition("/")[2]
    assert sysadmin.get(f"/projects/{project.pk}").json()["metadata"]["retention_id"] == number
    assert sysadmin.post("/retentions", policy(project)).status_code == 409
    assert sysadmin.put(path, shown).status_code == 200
    assert sysadmin.delete(path).status_code == 200
    assert "retention_id" not in sysadmin.get(f"/projects/{project.pk}").json()["metadata"]
    assert not Schedule.objects.filter(kind="RETENTION").exists()
    for method in (sysadmin.get, sysadmin.delete):
        assert method(path).status_code == 404


@pytest.mark.parametrize(
    "broken",
    [
        {"algorithm": "and"},
        {"scope": None},
        {"scope": {"level": "system", "ref": 1}},
        {"trigger": {"kind": "Webhook"}},
        {"trigger": {"kind": "Schedule", "settings": {"cron": "* * *"}}},
        {"trigger": {"kind": "Schedule", "settings": {"cron": 5}}},
        {"rules": [rule("never", 1)]},
        {"rules": [rule("latestPushedK")]},
        {"rules": [rule("latestPushedK", -1)]},
        {"rules": [rule("latestPushedK", 10**9)]},
        {"rules": [rule("nDaysSinceLastPush", 10**9)]},
        {"rules": [rule("latestPushedK", 1) | {"params": {"latestPushedK": "many"}}]},
        {"rules": [rule("latestPushedK", 1) | {"params": {"latestPushedK": 1.5}}]},
        {"rules": [rule("latestPushedK", 1) | {"params": {"latestPushedK": True}}]},
        {"rules": [rule("latestPushedK", 1) | {"params": {"latestPushedK": 1e400}}]},
        {"rules": [rule("always"), rule("always")]},
        {"rules": [rule("latestPushedK", number) for number in range(16)]},
        {"rules": [rule("always") | {"tag_selectors": []}]},
        {"rules": [rule("always") | {"scope_selectors": {}}]},
        {"rules": [rule("always") | {"scope_selectors": {"project": []}}]},
        {"rules": [rule("always", tags="[")]},
        {"rules": [rule("always", tags="{a,b}" * 200)]},
        {"rules": [rule("always") | {"action": "delete"}]},
    ],
)
def test_a_wrong_policy_is_refused_and_nothing_is_kept(sysadmin: Api, project: Project, broken: Any) -> None:
    answer = sysadmin.post("/retentions", policy(project, rule("always")) | broken)
    assert answer.status_code == 400, answer.content
    assert not RetentionPolicy.objects.exists()
    assert not Schedule.objects.filter(kind="RETENTION").exists()


def test_one_run_at_a_time_and_it_can_be_stopped(sysadmin: Api, project: Project, repository: RepositoryRef) -> None:
    fill(repository, 1)
    path = create(sysadmin, project, rule("always"))
    started = sysadmin.post(f"{path}/executions", {"dry_run": False})
    assert sysadmin.post(f"{path}/executions", {"dry_run": False}).status_code == 409
    address = str(started["Location"]).removeprefix("/api/v2.0")
    assert sysadmin.patch(address, {"action": "run"}).status_code == 400
    assert sysadmin.patch(address, {"action": "stop"}).status_code == 200
    assert sysadmin.get(f"{path}/executions").json()[0]["status"] == "Stopped"
    assert sysadmin.patch(f"{path}/executions/0", {"action": "stop"}).status_code == 404
    assert sysadmin.get(f"{address}/tasks/0").status_code == 404


def test_a_policy_ends_with_its_project(sysadmin: Api, project: Project) -> None:
    path = create(sysadmin, project, rule("always"))
    sysadmin.post(f"{path}/executions", {})
    assert sysadmin.delete(f"/projects/{project.pk}").status_code == 200
    Worker(1).work()
    assert sysadmin.get(path).status_code == 404
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs_schedule SET next_at = now() WHERE kind = 'RETENTION'")
    assert not Task.objects.filter(kind="RETENTION", parameters__repository__gt=0).exists()


def test_the_templates_and_selectors_are_listed(sysadmin: Api) -> None:
    shown = sysadmin.get("/retentions/metadatas").json()
    assert len(shown["templates"]) == 7
    assert shown["scope_selectors"][0]["decorations"] == ["repoMatches", "repoExcludes"]
    assert shown["tag_selectors"][0]["decorations"] == ["matches", "excludes"]


def test_repositories_are_evaluated_one_by_one(sysadmin: Api, project: Project, repository: RepositoryRef) -> None:
    fill(repository, 2)
    other = repository_of(project, "other/deep")
    put(other, "only", config=b"{}")
    path = create(sysadmin, project, rule("latestPushedK", 1))
    tasks = run(sysadmin, path)
    assert sorted((task["repository"], task["total"], task["retained"]) for task in tasks) == sorted(
        [(repository.name.path, 2, 1), ("other/deep", 1, 1)]
    )
