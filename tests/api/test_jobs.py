"""`/jobservice`, `/schedules`, and the jobs of the system with their schedules: `/system/purgeaudit`."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from django.utils import timezone

from projects.audit.models import AuditEntry
from projects.tasks import purge_audit_log
from registry_core.jobs import claims, executions, pools
from registry_core.jobs.models import Task
from registry_core.jobs.worker import Worker
from tests.api.conftest import Api
from tests.support.operations import BY_SYSTEM

PURGE = "/system/purgeaudit"
DAY = {"audit_retention_hour": 24, "include_event_types": "pull_artifact,create_artifact"}


def make_entry(number: int, *, operation: str = "pull", hours: int = 48) -> None:
    AuditEntry.objects.create(
        event_id=number,
        operation=operation,
        resource_type="artifact",
        resource="library/alpine:3",
        username="somebody",
        op_time=timezone.now() - dt.timedelta(hours=hours),
    )


def run_manually(sysadmin: Api, **parameters: Any) -> str:
    """Start a purge and run it; returns the path of the run."""
    made = sysadmin.post(f"{PURGE}/schedule", {"schedule": {"type": "Manual"}, "parameters": DAY | parameters})
    assert made.status_code == 201, made.content
    Worker(1).work()
    return str(made["Location"]).removeprefix("/api/v2.0")


def test_a_manual_purge_deletes_old_entries_of_the_types_and_nothing_else(sysadmin: Api) -> None:
    make_entry(1)
    make_entry(2, hours=1)
    make_entry(3, operation="delete")
    path = run_manually(sysadmin)
    assert sorted(AuditEntry.objects.values_list("event_id", flat=True)) == [2, 3]
    run = sysadmin.get(path).json()
    assert (run["job_name"], run["job_kind"], run["job_status"]) == ("PURGE_AUDIT_LOG", "MANUAL", "Success")
    assert json.loads(run["job_parameters"]) == DAY
    assert run["schedule"]["type"] == "Manual"
    log = sysadmin.get(f"{path}/log")
    assert log["Content-Type"].startswith("text/plain")
    assert "deleted 1 entries" in log.content.decode()
    assert [each["id"] for each in sysadmin.get(PURGE).json()] == [run["id"]]


def test_a_dry_run_says_how_many_and_deletes_nothing(sysadmin: Api) -> None:
    make_entry(1)
    path = run_manually(sysadmin, dry_run=True)
    assert AuditEntry.objects.count() == 1
    assert "would delete 1 entries" in sysadmin.get(f"{path}/log").content.decode()


@pytest.mark.parametrize(
    "parameters",
    [
        {}, {"audit_retention_hour": 0}, {"audit_retention_hour": -1}, {"audit_retention_hour": 2**63},
        {"audit_retention_hour": "x"}, {"audit_retention_hour": 1, "include_event_types": "eat_artifact"},
        {"audit_retention_hour": 1, "include_event_types": 7},
    ],
)  # fmt: skip
@pytest.mark.parametrize("schedule", [{"type": "Manual"}, {"type": "Daily"}])
def test_wrong_parameters_are_refused(sysadmin: Api, parameters: Any, schedule: Any) -> None:
    answer = sysadmin.post(f"{PURGE}/schedule", {"schedule": schedule, "parameters": parameters})
    assert answer.status_code == 400, answer.content
    assert sysadmin.get(PURGE).json() == []


@pytest.mark.parametrize(
    "schedule",
    [
        {},
        {"type": "Custom"},
        {"type": "Custom", "cron": "* * *"},
        {"type": "Never"},
        {"type": "Custom", "cron": "\x00"},
    ],
)
def test_a_wrong_schedule_is_refused(sysadmin: Api, schedule: Any) -> None:
    assert sysadmin.put(f"{PURGE}/schedule", {"schedule": schedule, "parameters": DAY}).status_code == 400


def test_a_schedule_is_set_shown_changed_and_cancelled(sysadmin: Api) -> None:
    assert "cron" not in sysadmin.get(f"{PURGE}/schedule").json()["schedule"]
    daily = {"schedule": {"type": "Daily", "cron": "0 0 0 * * *"}, "parameters": DAY}
    assert sysadmin.post(f"{PURGE}/schedule", daily).status_code == 201
    assert sysadmin.post(f"{PURGE}/schedule", daily).status_code == 409
    shown = sysadmin.get(f"{PURGE}/schedule").json()
    assert (shown["schedule"]["type"], shown["schedule"]["cron"]) == ("Daily", "0 0 0 * * *")
    assert shown["schedule"]["next_scheduled_time"] > timezone.now().isoformat()[:19]
    custom = {"schedule": {"type": "Custom", "cron": "0 15 3 * * *"}, "parameters": DAY}
    assert sysadmin.put(f"{PURGE}/schedule", custom).status_code == 200
    listed = [each for each in sysadmin.get("/schedules").json() if each["vendor_type"] == "PURGE_AUDIT_LOG"]
    assert [each["cron"] for each in listed] == ["0 15 3 * * *"]
    assert sysadmin.put(f"{PURGE}/schedule", {"schedule": {"type": "None"}, "parameters": DAY}).status_code == 200
    assert "cron" not in sysadmin.get(f"{PURGE}/schedule").json()["schedule"]


def test_a_run_in_progress_is_not_started_twice_and_can_be_stopped(sysadmin: Api) -> None:
    body = {"schedule": {"type": "Manual"}, "parameters": DAY}
    first = sysadmin.post(f"{PURGE}/schedule", body)
    assert sysadmin.post(f"{PURGE}/schedule", body).status_code == 409
    path = str(first["Location"]).removeprefix("/api/v2.0")
    assert sysadmin.put(path).status_code == 200
    assert sysadmin.get(path).json()["job_status"] == "Stopped"
    for missing in ("0", str(2**62)):
        assert sysadmin.get(f"{PURGE}/{missing}").status_code == 404
        assert sysadmin.put(f"{PURGE}/{missing}").status_code == 404
        assert sysadmin.get(f"{PURGE}/{missing}/log").status_code == 404


def test_pools_and_workers_show_who_runs_what(sysadmin: Api) -> None:
    worker = Worker(2)
    worker.keep()
    executions.start(purge_audit_log, cause=BY_SYSTEM, parameters=DAY)
    claimed = claims.claim(f"{worker.id}:1", classes=[True])
    assert claimed
    (pool,) = sysadmin.get("/jobservice/pools").json()
    assert (pool["worker_pool_id"], pool["concurrency"]) == (worker.id, 2)
    for which in (worker.id, "all"):
        busy, idle = sysadmin.get(f"/jobservice/pools/{which}/workers").json()
        assert (busy["job_name"], busy["job_id"]) == ("PURGE_AUDIT_LOG", str(claimed.task_id))
        assert "job_name" not in idle
    assert sysadmin.get("/jobservice/pools/nope/workers").status_code == 404
    worker.leave()
    assert pools.living() == []


def test_queues_are_listed_paused_resumed_and_stopped(sysadmin: Api) -> None:
    executions.start(purge_audit_log, cause=BY_SYSTEM, parameters=DAY)
    address = "/jobservice/queues/PURGE_AUDIT_LOG"

    def queue() -> dict[str, Any]:
        (found,) = [each for each in sysadmin.get("/jobservice/queues").json() if each["job_type"] in address]
        return dict(found)

    assert (queue()["count"], queue()["paused"]) == (1, False)
    assert sysadmin.put(address, {"action": "pause"}).status_code == 200
    assert queue()["paused"] is True
    assert Worker(1).work() == 0
    assert sysadmin.put(address, {"action": "resume"}).status_code == 200
    assert sysadmin.put(address, {"action": "stop"}).status_code == 200
    assert queue()["count"] == 0
    assert sysadmin.put(address, {"action": "eat"}).status_code == 400
    assert sysadmin.put("/jobservice/queues/NOPE", {"action": "stop"}).status_code == 404


def test_the_scheduler_is_paused_for_all(sysadmin: Api) -> None:
    assert sysadmin.get("/schedules/all/paused").json() == {"paused": False}
    assert sysadmin.put("/jobservice/queues/scheduler", {"action": "pause"}).status_code == 200
    assert sysadmin.get("/schedules/all/paused").json() == {"paused": True}
    assert sysadmin.get("/schedules/NOPE/paused").status_code == 404


def test_one_job_is_stopped_and_its_log_read(sysadmin: Api) -> None:
    number = executions.start(purge_audit_log, cause=BY_SYSTEM, parameters=DAY)
    task = Task.objects.get(execution_id=number)
    assert sysadmin.get(f"/jobservice/jobs/{task.pk}/log").status_code == 200
    assert sysadmin.put(f"/jobservice/jobs/{task.pk}").status_code == 200
    task.refresh_from_db()
    assert task.get_status_display() == "Stopped"
    for missing in ("0", "x", str(2**80), "-1"):
        assert sysadmin.put(f"/jobservice/jobs/{missing}").status_code == 404
        assert sysadmin.get(f"/jobservice/jobs/{missing}/log").status_code == 404
