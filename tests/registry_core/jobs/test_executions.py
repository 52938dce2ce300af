"""Executions and their tasks: order, limits, fairness, leases, stop, retry and history."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection

from registry_core.errors import AlreadyExists, InvalidInput, NotFound
from registry_core.jobs import claims, executions, queues, task_logs
from registry_core.jobs.claims import LeaseLost
from registry_core.jobs.models import Execution, Schedule, Status, Task, Turn
from registry_core.jobs.running import Run, Stopped, begin
from registry_core.jobs.worker import Worker
from tests.registry_core.jobs.conftest import MakeKind, Step
from tests.support.operations import BY_SYSTEM

pytestmark = pytest.mark.django_db
BOTH = [False, True]


def sql(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def nothing(_run: Run[Step]) -> None:
    """A task that does nothing."""


def test_an_execution_runs_all_its_tasks_and_keeps_results_progress_and_log(make_kind: MakeKind) -> None:
    def do(run: Run[Step]) -> dict[str, Any]:
        run.log(f"doing {run.parameters.name}")
        run.progress(3, 4)
        return {"said": run.parameters.name}

    kind = make_kind("T_ALL", do)
    number = executions.start(kind, cause=BY_SYSTEM, tasks=[{"name": "a"}, {"name": "b"}])
    assert Worker(1).work() == 2
    execution = Execution.objects.get(pk=number)
    assert (execution.status, execution.tasks_total, execution.tasks_succeeded) == (Status.SUCCESS, 2, 2)
    assert execution.started_at
    assert execution.ended_at
    first, second = Task.objects.filter(execution_id=number).order_by("pk")
    assert (first.result, second.result) == ({"said": "a"}, {"said": "b"})
    assert (first.done, first.total, first.attempts, first.status) == (3, 4, 1, Status.SUCCESS)
    assert task_logs.log_of_task(first.pk).endswith("doing a\n")
    assert "doing a\n" in "".join(task_logs.log_of_execution(number))


def test_an_execution_without_tasks_is_over_at_once(make_kind: MakeKind) -> None:
    number = executions.start(make_kind("T_NONE", nothing), cause=BY_SYSTEM, tasks=[])
    assert Execution.objects.get(pk=number).status == Status.SUCCESS


def test_wrong_parameters_are_refused_and_nothing_is_started(make_kind: MakeKind) -> None:
    with pytest.raises(InvalidInput, match="parameters of T_WRONG"):
        executions.start(make_kind("T_WRONG", nothing), cause=BY_SYSTEM, tasks=[{"name": ["no"]}])
    assert not Execution.objects.filter(kind="T_WRONG").exists()


def test_a_task_that_fails_is_tried_again_later_and_then_counts_as_failed(make_kind: MakeKind) -> None:
    def do(run: Run[Step]) -> None:
        raise ValueError(f"no {run.parameters.name}")

    number = executions.start(make_kind("T_FAIL", do, attempts=2), cause=BY_SYSTEM, parameters={"name": "luck"})
    worker = Worker(1)
    assert worker.work() == 1
    task = Task.objects.get(execution_id=number)
    assert (task.status, task.attempts, task.message) == (Status.PENDING, 1, "no luck")
    sql("UPDATE jobs_task SET run_at = now() WHERE id = %s", task.pk)
    assert worker.work() == 1
    task.refresh_from_db()
    assert (task.status, task.attempts, task.message) == (Status.ERROR, 2, "no luck")
    assert Execution.objects.get(pk=number).status == Status.ERROR
    assert "attempt 2 of 2 failed: ValueError: no luck" in task_logs.log_of_task(task.pk)


def test_a_failed_execution_can_be_retried_and_only_its_failed_tasks_run(make_kind: MakeKind) -> None:
    broken, ran = {"b"}, []

    def do(run: Run[Step]) -> None:
        ran.append(run.parameters.name)
        if run.parameters.name in broken:
            raise ValueError

    number = executions.start(
        make_kind("T_RETRY", do, attempts=1), cause=BY_SYSTEM, tasks=[{"name": "a"}, {"name": "b"}]
    )
    Worker(1).work()
    assert Execution.objects.get(pk=number).status == Status.ERROR
    broken.clear()
    assert executions.retry(number) == 1
    Worker(1).work()
    execution = Execution.objects.get(pk=number)
    assert (execution.status, execution.tasks_succeeded, execution.tasks_failed) == (Status.SUCCESS, 2, 0)
    assert ran == ["a", "b", "b"]


def test_an_exclusive_kind_has_one_execution_at_a_time_for_each_thing(make_kind: MakeKind) -> None:
    kind = make_kind("T_ONE", nothing, is_exclusive=True)
    executions.start(kind, cause=BY_SYSTEM, subject_ref=1)
    with pytest.raises(AlreadyExists, match="in progress"):
        executions.start(kind, cause=BY_SYSTEM, subject_ref=1)
    executions.start(kind, cause=BY_SYSTEM, subject_ref=2)
    Worker(1).work()
    executions.start(kind, cause=BY_SYSTEM, subject_ref=1)


def test_stopping_ends_pending_tasks_at_once_and_running_ones_when_they_look(make_kind: MakeKind) -> None:
    worker = Worker(1)

    def do(run: Run[Step]) -> None:
        executions.stop(number)
        worker.keep()
        run.check()

    number = executions.start(make_kind("T_STOP", do), cause=BY_SYSTEM, tasks=[{}] * 3)
    assert worker.work() == 1
    execution = Execution.objects.get(pk=number)
    assert (execution.status, execution.tasks_stopped) == (Status.STOPPED, 3)
    executions.stop(number)  # again: nothing happens
    with pytest.raises(NotFound):
        executions.stop(0)


def test_a_task_that_does_not_stop_is_given_up_and_can_change_nothing_any_more(make_kind: MakeKind) -> None:
    number = executions.start(make_kind("T_DEAF", nothing), cause=BY_SYSTEM)
    claimed = claims.claim("deaf", classes=BOTH)
    assert claimed
    executions.stop(number)
    sql("UPDATE jobs_task SET stop_requested_at = now() - interval '1 minute' WHERE id = %s", claimed.task_id)
    assert claims.take_from_lost() == 1
    assert Execution.objects.get(pk=number).status == Status.STOPPED
    run = begin(claimed, ending=threading.Event())
    with pytest.raises(Stopped), run.fenced():
        Turn.objects.create(project_id=77, served_at="2026-01-01T00:00:00Z")
    assert not Turn.objects.filter(project_id=77).exists()
    with pytest.raises(LeaseLost):
        claims.end(claimed, status=Status.SUCCESS, result={})


def test_the_task_of_a_lost_worker_is_taken_over_and_the_lost_worker_is_fenced(make_kind: MakeKind) -> None:
    number = executions.start(make_kind("T_LOST", nothing), cause=BY_SYSTEM)
    lost = claims.claim("lost", classes=BOTH)
    assert lost
    assert claims.claim("other", classes=BOTH) is None
    sql("UPDATE jobs_task SET lease_until = now() - interval '1 second' WHERE id = %s", lost.task_id)
    assert claims.take_from_lost() == 1
    sql("UPDATE jobs_task SET run_at = now() WHERE id = %s", lost.task_id)
    taken = claims.claim("other", classes=BOTH)
    assert taken
    assert (taken.task_id, taken.attempt) == (lost.task_id, 2)
    with pytest.raises(LeaseLost):
        claims.end(lost, status=Status.SUCCESS, result={})
    assert not claims.give_back(lost, message="", delay_s=0, is_free=True)
    claims.end(taken, status=Status.SUCCESS, result={})
    assert Execution.objects.get(pk=number).status == Status.SUCCESS


def test_a_task_that_kills_each_worker_is_given_up(make_kind: MakeKind) -> None:
    number = executions.start(make_kind("T_KILLER", nothing, attempts=2), cause=BY_SYSTEM)
    for _ in range(2):
        assert claims.claim("dies", classes=BOTH)
        sql("UPDATE jobs_task SET lease_until = now() - interval '1 second'")
        claims.take_from_lost()
        sql("UPDATE jobs_task SET run_at = now()")
    task = Task.objects.get(execution_id=number)
    assert task.status == Status.ERROR
    assert "worker was lost in each of 2 attempts" in task.message


def test_projects_take_turns_whatever_one_of_them_has_waiting(make_kind: MakeKind) -> None:
    kind = make_kind("T_FAIR", nothing, is_bulk=False)
    executions.start(kind, cause=BY_SYSTEM, project_id=1, tasks=[{}] * 20)
    for project in (2, 3):
        executions.start(kind, cause=BY_SYSTEM, project_id=project)
    order = []
    for _ in range(4):
        claimed = claims.claim("w", classes=BOTH)
        assert claimed
        order.append(claimed.project_id)
        claims.end(claimed, status=Status.SUCCESS, result={})
    assert set(order[:3]) == {1, 2, 3}


def test_quick_tasks_come_before_bulk_and_each_leaves_a_thread_to_the_other(make_kind: MakeKind) -> None:
    bulk, quick = make_kind("T_BULK", nothing), make_kind("T_QUICK", nothing, is_bulk=False)
    executions.start(bulk, cause=BY_SYSTEM, tasks=[{}] * 5)
    executions.start(quick, cause=BY_SYSTEM)
    first = claims.claim("w", classes=BOTH)
    assert first
    assert first.kind == "T_QUICK"
    assert claims.claim("w", classes=[False]) is None
    assert claims.claim("w", classes=[True])


def test_limits_of_a_kind_hold(make_kind: MakeKind) -> None:
    kind = make_kind("T_LIMIT", nothing, max_running=2, max_per_project=1)
    executions.start(kind, cause=BY_SYSTEM, project_id=1, tasks=[{}] * 3)
    assert claims.claim("w", classes=BOTH)
    assert claims.claim("w", classes=BOTH) is None
    for project in (2, 3):
        executions.start(kind, cause=BY_SYSTEM, project_id=project)
    assert claims.claim("w", classes=BOTH)
    assert claims.claim("w", classes=BOTH) is None


def test_a_paused_queue_is_not_worked_on_until_it_is_resumed(make_kind: MakeKind) -> None:
    executions.start(make_kind("T_PAUSE", nothing), cause=BY_SYSTEM)
    queues.act("T_PAUSE", "pause")
    queues.act("T_PAUSE", "pause")
    assert Worker(1).work() == 0
    (queue,) = [queue for queue in queues.queues() if queue.name == "T_PAUSE"]
    assert (queue.count, queue.is_paused) == (1, True)
    queues.act("all", "resume")
    assert Worker(1).work() == 1
    for name, action, error in (("nope", "stop", NotFound), ("all", "dance", InvalidInput)):
        with pytest.raises(error):
            queues.act(name, action)


def test_stopping_a_queue_stops_its_executions(make_kind: MakeKind) -> None:
    number = executions.start(make_kind("T_QSTOP", nothing), cause=BY_SYSTEM, tasks=[{}] * 2)
    queues.act("T_QSTOP", "stop")
    assert Execution.objects.get(pk=number).status == Status.STOPPED


def test_a_task_can_add_tasks_but_not_after_a_stop(make_kind: MakeKind) -> None:
    def do(run: Run[Step]) -> None:
        if not run.parameters.name:
            with run.fenced():
                run.add_tasks([{"name": "more"}] * 2)
        elif run.parameters.name == "more":
            executions.stop(number)
            with run.fenced():
                run.add_tasks([{"name": "late"}])

    number = executions.start(make_kind("T_ADD", do), cause=BY_SYSTEM)
    Worker(1).work()
    execution = Execution.objects.get(pk=number)
    assert (execution.tasks_total, execution.status) == (3, Status.STOPPED)
    assert not Task.objects.filter(execution_id=number, status__in=(Status.PENDING, Status.RUNNING)).exists()


def test_a_log_is_bounded_and_says_so_once(make_kind: MakeKind) -> None:
    def do(run: Run[Step]) -> None:
        for _ in range(40):
            run.log("é" * 20_000 + "\x00")

    number = executions.start(make_kind("T_LOG", do), cause=BY_SYSTEM)
    Worker(1).work()
    text = task_logs.log_of_task(Task.objects.get(execution_id=number).pk)
    assert len(text.encode()) <= task_logs.LOG_BYTES_MAX + 200
    assert text.count("the log ends here") == 1


def test_old_executions_are_removed_but_not_the_last_ones(make_kind: MakeKind) -> None:
    kind = make_kind("T_OLD", nothing)
    number = executions.start(kind, cause=BY_SYSTEM)
    Worker(1).work()
    task_logs.append(Task.objects.get(execution_id=number).pk, "gone with it")
    for _ in range(executions.KEPT_EACH + 3):
        executions.start(kind, cause=BY_SYSTEM, tasks=[])
    sql("UPDATE jobs_execution SET ended_at = now() - interval '100 days' WHERE kind = 'T_OLD'")
    assert executions.remove_old(days=30) == 4
    assert Execution.objects.filter(kind="T_OLD").count() == executions.KEPT_EACH


def test_claiming_costs_the_same_with_many_tasks_waiting(make_kind: MakeKind) -> None:
    executions.start(make_kind("T_MANY", nothing), cause=BY_SYSTEM, tasks=[{}] * 20_000)
    sql("ANALYZE jobs_task")
    with connection.cursor() as cursor:
        cursor.execute(
            "EXPLAIN (ANALYZE, FORMAT JSON) " + claims._GROUPS,
            {"kinds": ["T_MANY"], "most": [0], "each": [0], "classes": BOTH},
        )
        assert '"Actual Rows": 20000' not in str(cursor.fetchone())
    assert not Schedule.objects.filter(kind="T_MANY").exists()
