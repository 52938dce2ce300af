"""Jobs of the whole system with a schedule, as the contract has them: garbage collection, purge of the audit log.

Each has a history, a log, a stop, and one schedule, whose type `Manual` starts it at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.http import HttpResponse
from django.urls import URLPattern, path
from rest_framework.request import Request
from rest_framework.response import Response

from registry_core.api.base import ApiView, created, done
from registry_core.api.jobservice import text_of
from registry_core.api.messages import NEVER, Answer, Body, ShortText, Time, api_time, parse_body
from registry_core.api.openapi import PAGED, operation
from registry_core.api.paging import ListRules, listed
from registry_core.api.permissions import in_system
from registry_core.api.query import choice_key, number_key, text_key, time_key
from registry_core.errors import NotFound
from registry_core.jobs import executions, schedules, task_logs
from registry_core.jobs.kinds import JobKind
from registry_core.jobs.models import Execution, Status, Trigger
from registry_core.jobs.models import Schedule as StoredSchedule
from registry_core.jobs.schedules import Type

HISTORY: Final = ListRules(
    keys={
        "id": number_key("pk"),
        "status": choice_key("status", {status.label: status.value for status in Status}),
        "trigger": text_key("trigger"),
        "creation_time": time_key("created_at"),
    },
    sorts={"id": "pk", "creation_time": "created_at", "update_time": "ended_at", "status": "status"},
    nullable=frozenset({"ended_at"}),
)


class ScheduleObj(Answer, kw_only=True):
    """When it starts: a type, and for Custom a cron expression of six fields, seconds first."""

    type: str = ""
    cron: str = ""
    next_scheduled_time: Time


_UNPLANNED: Final = ScheduleObj(next_scheduled_time=NEVER)
_NOW: Final = ScheduleObj(type=Type.MANUAL, next_scheduled_time=NEVER)


class ExecHistory(Answer, kw_only=True):
    """A run, or the schedule of runs."""

    id: int
    job_name: str
    job_kind: str
    job_parameters: str
    schedule: ScheduleObj
    job_status: str
    deleted: bool
    creation_time: Time
    update_time: Time


class GCHistory(ExecHistory, kw_only=True):
    """A run of the garbage collection, or its schedule."""


class ScheduleRequest(Body):
    """When to run: `Manual` is now, `None` is never."""

    type: ShortText = ""
    cron: ShortText = ""


class Schedule(Body):
    """A schedule with the parameters of its runs."""

    schedule: ScheduleRequest | None = None
    parameters: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class SystemJob:
    """What tells such jobs apart: their kind, address, permission, tag, the names of their operations, and the struct
    of their history."""

    kind: JobKind[Any]
    address: str
    resource: str
    tag: str
    names: tuple[str, str, str, str, str, str, str]
    """Of history, one run, stop, log, and get, create and update of the schedule."""
    answer: type[ExecHistory] = ExecHistory


def patterns(job: SystemJob, converter: str) -> list[URLPattern]:
    """The URLs of such a job; `converter` is the name of the id in them."""
    return [
        path(job.address, _history_view(job)),
        path(f"{job.address}/schedule", _schedule_view(job)),
        path(f"{job.address}/<int:{converter}>", _run_view(job)),
        path(f"{job.address}/<int:{converter}>/log", _log_view(job)),
    ]


def _history_view(job: SystemJob) -> Any:
    class HistoryView(ApiView):
        access = {"GET": in_system(job.resource, "list")}

        @operation(job.names[0], job.tag, parameters=PAGED, answer=list[job.answer], errors=(400, 401, 403))  # type: ignore[name-defined]
        def get(self, request: Request) -> Response:
            """List the runs, the last one first."""
            return listed(request, _runs(job), HISTORY, lambda rows: _histories(job, rows))

    return HistoryView.as_view()


def _run_view(job: SystemJob) -> Any:
    class RunView(ApiView):
        access = {"GET": in_system(job.resource, "read"), "PUT": in_system(job.resource, "stop")}

        @operation(job.names[1], job.tag, answer=job.answer, errors=(401, 403, 404))
        def get(self, _request: Request, **kwargs: Any) -> Response:
            """Get a run."""
            return Response(_histories(job, [_run(job, kwargs)])[0])

        @operation(job.names[2], job.tag, errors=(401, 403, 404))
        def put(self, _request: Request, **kwargs: Any) -> Response:
            """Stop a run; it ends within seconds."""
            executions.stop(_run(job, kwargs).pk)
            return done()

    return RunView.as_view()


def _log_view(job: SystemJob) -> Any:
    class LogView(ApiView):
        access = {"GET": in_system(job.resource, "read")}

        @operation(job.names[3], job.tag, answer=str, media_type="text/plain", errors=(401, 403, 404))
        def get(self, _request: Request, **kwargs: Any) -> HttpResponse:
            """Get the log of a run, as far as it is written."""
            return text_of(task_logs.log_of_execution(_run(job, kwargs).pk))

    return LogView.as_view()


def _schedule_view(job: SystemJob) -> Any:
    class ScheduleView(ApiView):
        access = {
            "GET": in_system(job.resource, "read"),
            "POST": in_system(job.resource, "create"),
            "PUT": in_system(job.resource, "update"),
        }

        @operation(job.names[4], job.tag, answer=job.answer, errors=(401, 403))
        def get(self, _request: Request) -> Response:
            """Get the schedule; it is empty while there is none."""
            stored = schedules.schedule_of(job.kind)
            return Response(_no_schedule(job) if stored is None or not stored.cron else _of_schedule(job, stored))

        @operation(job.names[5], job.tag, body=Schedule, status=201, errors=(400, 401, 403, 409))
        def post(self, request: Request) -> Response:
            """Run it now (the type Manual), or set a schedule where there is none."""
            return self._set(request, is_new=True)

        @operation(job.names[6], job.tag, body=Schedule, errors=(400, 401, 403, 409))
        def put(self, request: Request) -> Response:
            """Change the schedule; the type None removes it."""
            return self._set(request, is_new=False)

        def _set(self, request: Request, *, is_new: bool) -> Response:
            body = parse_body(request, Schedule)
            asked = body.schedule or ScheduleRequest()
            if asked.type == Type.MANUAL:
                number = executions.start(job.kind, cause=self.cause, parameters=body.parameters)
                return created(f"/api/v2.0/{job.address}/{number}")
            schedules.set_schedule(
                job.kind,
                type=asked.type,
                cron=asked.cron,
                cause=self.cause,
                parameters=body.parameters,
                is_new=is_new,
            )
            return created(f"/api/v2.0/{job.address}/schedule") if is_new else done()

    return ScheduleView.as_view()


def _runs(job: SystemJob) -> Any:
    return Execution.objects.filter(kind=job.kind.name)


def _run(job: SystemJob, kwargs: dict[str, Any]) -> Execution:
    (number,) = kwargs.values()
    found: Execution | None = _runs(job).filter(pk=number).first()
    if found is None:
        raise NotFound(f"there is no {job.tag} job {number}: GET /{job.address} lists them")
    return found


def _histories(job: SystemJob, rows: Sequence[Execution]) -> list[Any]:
    stored = schedules.schedule_of(job.kind)
    planned = _planned(stored) if stored and stored.cron else _UNPLANNED
    return [
        job.answer(
            id=row.pk,
            job_name=row.kind,
            job_kind=row.trigger,
            job_parameters=json.dumps(row.parameters),
            schedule=planned if row.trigger == Trigger.SCHEDULE else _NOW,
            job_status=Status(row.status).label,
            deleted=False,
            creation_time=api_time(row.created_at),
            update_time=api_time(row.ended_at or row.started_at or row.created_at),
        )
        for row in rows
    ]


def _of_schedule(job: SystemJob, stored: StoredSchedule) -> ExecHistory:
    return job.answer(
        id=stored.pk,
        job_name=stored.kind,
        job_kind=Trigger.SCHEDULE,
        job_parameters=json.dumps(stored.parameters),
        schedule=_planned(stored),
        job_status="",
        deleted=False,
        creation_time=api_time(stored.created_at),
        update_time=api_time(stored.updated_at),
    )


def _no_schedule(job: SystemJob) -> ExecHistory:
    return job.answer(
        id=0,
        job_name="",
        job_kind="",
        job_parameters="",
        schedule=_UNPLANNED,
        job_status="",
        deleted=False,
        creation_time=NEVER,
        update_time=NEVER,
    )


def _planned(stored: StoredSchedule) -> ScheduleObj:
    return ScheduleObj(
        type=stored.type,
        cron=stored.cron,
        next_scheduled_time=api_time(stored.next_at) if stored.next_at else NEVER,
    )
