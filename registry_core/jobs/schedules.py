"""Schedules: executions that start by themselves, by a cron expression of six fields (the first is seconds).

A time that passed while nothing ran is made up for once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog
from cronsim import CronSim, CronSimError
from django.db import transaction
from django.db.models import Q

from registry_core.access import Cause, of_system, stored_subject
from registry_core.config import get_config
from registry_core.database.times import database_now
from registry_core.errors import AlreadyExists, InvalidInput
from registry_core.jobs import executions
from registry_core.jobs.kinds import JobKind, all_kinds, kind_named
from registry_core.jobs.models import PausedQueue, Schedule, Trigger

FIELDS: Final = 6
CRON_MAX: Final = 255
STARTED_AT_ONCE: Final = 100
POSTPONED: Final = timedelta(hours=1)
"""When a schedule is looked at again that this release cannot read."""
SCHEDULER: Final = "scheduler"
"""The name under which all schedules are paused."""
_log = structlog.get_logger(__name__)


class Type(StrEnum):
    """How often, in the words of the contract."""

    HOURLY = "Hourly"
    DAILY = "Daily"
    WEEKLY = "Weekly"
    CUSTOM = "Custom"
    MANUAL = "Manual"
    NONE = "None"
    SCHEDULE = "Schedule"


CRONS: Final[Mapping[str, str]] = {
    Type.HOURLY: "0 0 * * * *",
    Type.DAILY: "0 0 0 * * *",
    Type.WEEKLY: "0 0 0 * * 0",
}


def cron_of(type_: str, cron: str) -> str:
    """The expression of a type; that of Custom and Schedule is the given one. Raises InvalidInput."""
    if type_ in CRONS and not cron:
        return CRONS[type_]
    if type_ not in {*CRONS, Type.CUSTOM, Type.SCHEDULE}:
        raise InvalidInput(f"{type_!r} is no type of schedule: use one of {', '.join(Type)}")
    check_cron(cron)
    return cron


def check_cron(cron: str) -> None:
    """Raises InvalidInput for an expression that is none, or that never comes."""
    if len(cron) > CRON_MAX or len(cron.split()) != FIELDS:
        raise InvalidInput(f"{cron[:60]!r} is no cron expression: write six fields, as 0 30 2 * * * (half past two)")
    if cron.split()[0] not in {"0", "00"}:
        raise InvalidInput("the first field of the cron expression, seconds, must be 0")
    next_time(cron, datetime.now(ZoneInfo("UTC")))


def next_time(cron: str, after: datetime) -> datetime:
    """The first time by the expression after another one, in the zone of the setting `time_zone`.

    Raises InvalidInput.
    """
    fields = cron.replace("?", "*").split()
    try:
        return next(CronSim(" ".join(fields[1:]), after.astimezone(ZoneInfo(get_config().time_zone))))
    except CronSimError as error:
        raise InvalidInput(f"{cron[:60]!r} is no cron expression: {error}") from None
    except StopIteration:
        raise InvalidInput(f"{cron[:60]!r} never comes: correct its day and month") from None


def set_schedule(
    kind: JobKind[Any],
    *,
    type: str,
    cron: str,
    cause: Cause,
    parameters: Mapping[str, Any],
    subject_ref: int = 0,
    project_id: int = 0,
    is_new: bool = False,
) -> int:
    """Set when executions of a kind start; the type `None` cancels it. Returns its id.

    `is_new`: raises AlreadyExists if there is one. Raises InvalidInput.
    """
    expression = "" if type == Type.NONE else cron_of(type, cron)
    kept = executions.checked(kind, parameters) if expression else {}
    with transaction.atomic():
        now = database_now()
        mine = Schedule.objects.select_for_update().filter(kind=kind.name, subject_ref=subject_ref)
        old = mine.first()
        if old is not None and old.next_at is not None and is_new and expression:
            raise AlreadyExists(f"there is a schedule of {kind.name} already: change it")
        values = {
            "type": str(type),
            "cron": expression,
            "parameters": kept,
            "project_id": project_id,
            "subject_kind": int(cause.subject.kind),
            "subject_id": cause.subject.id,
            "next_at": next_time(expression, now) if expression else None,
            "updated_at": now,
        }
        schedule, _ = Schedule.objects.update_or_create(kind=kind.name, subject_ref=subject_ref, defaults=values)
    return int(schedule.pk)


def schedule_of(kind: JobKind[Any], subject_ref: int = 0) -> Schedule | None:
    """The schedule of a kind; None if there never was one."""
    return Schedule.objects.filter(kind=kind.name, subject_ref=subject_ref).first()


def remove(kind: JobKind[Any], subject_ref: int) -> None:
    """Remove the schedule of what is removed."""
    Schedule.objects.filter(kind=kind.name, subject_ref=subject_ref).delete()


def make_defaults() -> None:
    """Make the schedules that kinds have until somebody sets others."""
    wanted = {kind.name: kind for kind in all_kinds() if kind.cron}
    for name in wanted.keys() - set(Schedule.objects.filter(kind__in=wanted).values_list("kind", flat=True)):
        set_schedule(wanted[name], type=Type.CUSTOM, cron=wanted[name].cron, cause=of_system("schedule"), parameters={})


def start_due() -> int:
    """Start what is due, but not very much at once; returns the number of executions."""
    started = 0
    if not PausedQueue.objects.filter(name=SCHEDULER).exists():
        for _ in range(STARTED_AT_ONCE):
            is_started = _start_one()
            if is_started is None:
                break
            started += is_started
    return started


@transaction.atomic
def _start_one() -> bool | None:
    now = database_now()
    due = Schedule.objects.select_for_update(skip_locked=True).filter(Q(next_at__lte=now)).order_by("next_at").first()
    if due is None:
        return None
    due.next_at = now + POSTPONED
    try:
        due.next_at = next_time(due.cron, now)
        kind = kind_named(due.kind)
        executions.start(
            kind,
            cause=_cause_of(due),
            trigger=Trigger.SCHEDULE,
            parameters=due.parameters,
            subject_ref=due.subject_ref,
            project_id=due.project_id,
        )
    except AlreadyExists:
        _log.warning("a scheduled job does not start, because the last one is in progress", job=due.kind)
        return False
    except (KeyError, InvalidInput) as error:
        _log.error("a scheduled job does not start", job=due.kind, reason=str(error))
        return False
    finally:
        due.save(update_fields=["next_at"])
    return True


def _cause_of(schedule: Schedule) -> Cause:
    subject = stored_subject(schedule.subject_kind, schedule.subject_id)
    return Cause(subject, "", "schedule", f"schedule-{schedule.pk}")
