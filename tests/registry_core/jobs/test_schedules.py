"""Schedules: expressions, missed times, and what starts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from registry_core.config import get_config
from registry_core.errors import AlreadyExists, InvalidInput
from registry_core.jobs import queues, schedules
from registry_core.jobs.models import Execution, Schedule, Trigger
from tests.registry_core.jobs.conftest import MakeKind, Step
from tests.support.operations import BY_SYSTEM

MIDDAY = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)


def nothing(_run: object) -> None:
    """A task that does nothing."""


def make_due(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs_schedule SET next_at = now() - interval '3 days' WHERE kind = %s", [name])


@pytest.mark.parametrize(
    ("cron", "after"),
    [
        ("0 0 * * * *", timedelta(hours=1)),
        ("0 30 12 * * *", timedelta(minutes=30)),
        ("0 0 0 * * 0", timedelta(hours=12)),
        ("0 0 0 ? * 0", timedelta(hours=12)),
        ("0 0 0 1 * *", timedelta(days=3, hours=12)),
    ],
)
def test_the_next_time_of_an_expression(cron: str, after: timedelta) -> None:
    assert schedules.next_time(cron, MIDDAY) == MIDDAY + after


def test_times_are_those_of_the_configured_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    zoned = get_config().model_copy(update={"time_zone": "Asia/Tokyo"})
    monkeypatch.setattr(schedules, "get_config", lambda: zoned)
    assert schedules.next_time("0 0 2 * * *", MIDDAY) == datetime(2026, 3, 28, 17, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "cron",
    ["", "* * * * *", "30 0 0 * * *", "0 61 * * * *", "0 0 0 30 2 *", "0 0 0 * * nine", "0 " * 300, "0 \x00 * * * *"],
)
def test_an_expression_that_is_none_is_refused_with_the_reason(cron: str) -> None:
    with pytest.raises(InvalidInput, match=r"cron|seconds|never comes"):
        schedules.check_cron(cron)


@given(st.text(max_size=300))
def test_no_text_is_more_than_refused(cron: str) -> None:
    try:
        schedules.check_cron(cron)
    except InvalidInput:
        return
    assert schedules.next_time(cron, MIDDAY) > MIDDAY


@pytest.mark.django_db
def test_a_schedule_that_was_missed_many_times_starts_once(make_kind: MakeKind) -> None:
    kind = make_kind("S_MISSED", nothing)
    schedules.set_schedule(kind, type="Hourly", cron="", cause=BY_SYSTEM, parameters={"name": "x"}, subject_ref=5)
    assert schedules.start_due() == 0
    make_due("S_MISSED")
    assert schedules.start_due() == 1
    assert schedules.start_due() == 0
    (execution,) = Execution.objects.filter(kind="S_MISSED")
    assert (execution.trigger, execution.parameters, execution.subject_ref) == (Trigger.SCHEDULE, {"name": "x"}, 5)
    assert Schedule.objects.filter(kind="S_MISSED", next_at__gt=datetime.now(UTC)).exists()


@pytest.mark.django_db
def test_an_exclusive_job_in_progress_is_not_started_again(make_kind: MakeKind) -> None:
    kind = make_kind("S_ONE", nothing, is_exclusive=True)
    schedules.set_schedule(kind, type="Daily", cron="", cause=BY_SYSTEM, parameters={})
    make_due("S_ONE")
    assert schedules.start_due() == 1
    make_due("S_ONE")
    assert schedules.start_due() == 0
    assert Execution.objects.filter(kind="S_ONE").count() == 1


@pytest.mark.django_db
def test_nothing_starts_while_the_scheduler_is_paused(make_kind: MakeKind) -> None:
    schedules.set_schedule(make_kind("S_PAUSED", nothing), type="Weekly", cron="", cause=BY_SYSTEM, parameters={})
    make_due("S_PAUSED")
    queues.act("scheduler", "pause")
    assert schedules.start_due() == 0
    queues.act("scheduler", "resume")
    assert schedules.start_due() == 1


@pytest.mark.django_db
def test_a_schedule_can_be_changed_and_cancelled_and_is_there_once(make_kind: MakeKind) -> None:
    kind = make_kind("S_CHANGE", nothing)
    schedules.set_schedule(kind, type="Daily", cron="", cause=BY_SYSTEM, parameters={}, is_new=True)
    with pytest.raises(AlreadyExists):
        schedules.set_schedule(kind, type="Daily", cron="", cause=BY_SYSTEM, parameters={}, is_new=True)
    schedules.set_schedule(kind, type="Custom", cron="0 5 * * * *", cause=BY_SYSTEM, parameters={})
    assert Schedule.objects.get(kind="S_CHANGE").cron == "0 5 * * * *"
    schedules.set_schedule(kind, type="None", cron="", cause=BY_SYSTEM, parameters={})
    assert Schedule.objects.get(kind="S_CHANGE").next_at is None
    schedules.set_schedule(kind, type="Daily", cron="", cause=BY_SYSTEM, parameters={}, is_new=True)
    with pytest.raises(InvalidInput, match="no type of schedule"):
        schedules.set_schedule(kind, type="Often", cron="", cause=BY_SYSTEM, parameters={})


@pytest.mark.django_db
def test_defaults_are_made_once_and_what_an_administrator_sets_stays(make_kind: MakeKind) -> None:
    kind = make_kind("S_DEFAULT", nothing, cron="0 0 3 * * *")
    schedules.make_defaults()
    assert Schedule.objects.get(kind="S_DEFAULT").cron == "0 0 3 * * *"
    schedules.set_schedule(kind, type="None", cron="", cause=BY_SYSTEM, parameters={})
    schedules.make_defaults()
    assert Schedule.objects.get(kind="S_DEFAULT").next_at is None
    assert Step().name == ""
