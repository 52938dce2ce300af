"""`/jobservice` and `/schedules`: the processes that run jobs, the queues, single jobs and their logs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from registry_core.api.base import ApiView, done
from registry_core.api.messages import NEVER, Answer, Body, Time, api_time, parse_body
from registry_core.api.openapi import CURSOR, PAGE, PAGE_SIZE, operation
from registry_core.api.paging import ListRules, listed
from registry_core.api.permissions import in_system
from registry_core.errors import NotFound
from registry_core.jobs import executions, pools, queues, task_logs
from registry_core.jobs.kinds import all_kinds
from registry_core.jobs.models import Schedule
from registry_core.jobs.schedules import SCHEDULER

TAG: Final = "jobservice"
SCHEDULE_TAG: Final = "schedule"
RESOURCE: Final = "jobservice-monitor"
ALL: Final = "all"
LOG_MAX: Final = 8 << 20
SCHEDULE_RULES: Final = ListRules(sorts={"id": "pk"}, order=("pk",))


class WorkerPool(Answer, kw_only=True):
    """A process that runs jobs."""

    pid: int
    worker_pool_id: str
    start_at: Time
    heartbeat_at: Time
    concurrency: int
    host: str


class Worker(Answer, kw_only=True):
    """A thread of a pool, and the job that it runs, if any. `check_in`: how much of the job is done."""

    id: str
    pool_id: str
    job_name: str = ""
    job_id: str = ""
    start_at: Time = ""
    check_in: str = ""
    checkin_at: Time = ""


class JobQueue(Answer, kw_only=True):
    """The jobs of one kind that wait; `latency`: for how many seconds the first of them."""

    job_type: str
    count: int
    latency: int
    paused: bool


class ActionRequest(Body):
    """What to do with a queue."""

    action: Literal["", "stop", "pause", "resume"] = ""


class ScheduleTask(Answer, kw_only=True):
    """Something that starts by itself."""

    id: int
    vendor_type: str
    vendor_id: int
    cron: str
    update_time: Time


class SchedulerStatus(Answer, kw_only=True):
    """Whether schedules start anything at the moment."""

    paused: bool


class PoolsView(ApiView):
    """`/jobservice/pools`."""

    access = {"GET": in_system(RESOURCE, "list")}

    @operation("getWorkerPools", TAG, answer=list[WorkerPool], errors=(401, 403))
    def get(self, _request: Request) -> Response:
        """List the processes that run jobs."""
        return Response([_pool(pool) for pool in pools.living()])


class WorkersView(ApiView):
    """`/jobservice/pools/{pool_id}/workers`."""

    access = {"GET": in_system(RESOURCE, "list")}

    @operation("getWorkers", TAG, answer=list[Worker], errors=(401, 403, 404))
    def get(self, _request: Request, pool_id: str) -> Response:
        """List the threads of a pool, or of `all`, with the jobs that they run."""
        found = [pool for pool in pools.living() if pool_id in {ALL, pool.id}]
        if not found and pool_id != ALL:
            raise NotFound(f"there is no pool {pool_id[:64]!r}: GET /jobservice/pools lists them")
        return Response([_worker(thread) for thread in pools.threads(found)])


class JobView(ApiView):
    """`/jobservice/jobs/{job_id}`."""

    access = {"PUT": in_system(RESOURCE, "stop")}

    @operation("stopRunningJob", TAG, errors=(401, 403, 404))
    def put(self, _request: Request, job_id: str) -> Response:
        """Stop a job, or `all` of them. It ends within seconds."""
        if job_id == ALL:
            queues.act(queues.ALL, "stop")
        else:
            executions.stop_task(_number(job_id))
        return done()


class JobLogView(ApiView):
    """`/jobservice/jobs/{job_id}/log`."""

    access = {"GET": in_system(RESOURCE, "list")}

    @operation("actionGetJobLog", TAG, answer=str, media_type="text/plain", errors=(401, 403, 404))
    def get(self, _request: Request, job_id: str) -> HttpResponse:
        """Get the log of a job, as far as it is written."""
        return text_of([task_logs.log_of_task(_number(job_id))])


class QueuesView(ApiView):
    """`/jobservice/queues`."""

    access = {"GET": in_system(RESOURCE, "list")}

    @operation("listJobQueues", TAG, answer=list[JobQueue], errors=(401, 403))
    def get(self, _request: Request) -> Response:
        """List the queues: one for each kind of job."""
        return Response(
            [
                JobQueue(job_type=queue.name, count=queue.count, latency=queue.latency_s, paused=queue.is_paused)
                for queue in queues.queues()
            ]
        )


class QueueView(ApiView):
    """`/jobservice/queues/{job_type}`."""

    access = {"PUT": in_system(RESOURCE, "stop")}

    @operation("actionPendingJobs", TAG, body=ActionRequest, errors=(400, 401, 403, 404))
    def put(self, request: Request, job_type: str) -> Response:
        """Stop, pause or resume a queue, `all` queues, or (pause and resume) the `scheduler`."""
        queues.act(job_type, parse_body(request, ActionRequest).action)
        return done()


class SchedulesView(ApiView):
    """`/schedules`."""

    access = {"GET": in_system(RESOURCE, "list")}

    @operation(
        "listSchedules", SCHEDULE_TAG, parameters=[PAGE, PAGE_SIZE, CURSOR], answer=list[ScheduleTask],
        errors=(400, 401, 403),
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """List what starts by itself."""
        return listed(request, Schedule.objects.filter(next_at__isnull=False), SCHEDULE_RULES, _schedules)


class PausedView(ApiView):
    """`/schedules/{job_type}/paused`."""

    access = {"GET": in_system(RESOURCE, "list")}

    @operation("getSchedulePaused", SCHEDULE_TAG, answer=SchedulerStatus, errors=(401, 403, 404))
    def get(self, _request: Request, job_type: str) -> Response:
        """Get whether schedules start anything; `job_type` is `all` or a kind of job."""
        if job_type not in {ALL, SCHEDULER, *(kind.name for kind in all_kinds())}:
            raise NotFound(f"there are no jobs of the type {job_type[:64]!r}")
        return Response(SchedulerStatus(paused=queues.is_scheduler_paused()))


def text_of(pieces: Iterable[str]) -> HttpResponse:
    """A log as a response; of a very long one the beginning."""
    taken: list[str] = []
    size = 0
    for piece in pieces:
        if size > LOG_MAX:
            taken.append("the log is longer: read those of the single tasks\n")
            break
        taken.append(piece)
        size += len(piece)
    return HttpResponse("".join(taken), content_type="text/plain; charset=utf-8")


def _pool(pool: pools.Pool) -> WorkerPool:
    return WorkerPool(
        pid=pool.pid,
        worker_pool_id=pool.id,
        start_at=api_time(pool.started_at),
        heartbeat_at=api_time(pool.seen_at),
        concurrency=pool.concurrency,
        host=pool.host,
    )


def _worker(thread: pools.Thread) -> Worker:
    task = thread.task
    if task is None:
        return Worker(id=thread.id, pool_id=thread.pool_id)
    return Worker(
        id=thread.id,
        pool_id=thread.pool_id,
        job_name=task.kind,
        job_id=str(task.pk),
        start_at=api_time(task.started_at) if task.started_at else NEVER,
        check_in=f"{task.done} of {task.total}" if task.total else "",
        checkin_at=api_time(task.updated_at),
    )


def _schedules(rows: Sequence[Schedule]) -> list[Any]:
    return [
        ScheduleTask(
            id=row.pk,
            vendor_type=row.kind,
            vendor_id=row.subject_ref,
            cron=row.cron,
            update_time=api_time(row.updated_at),
        )
        for row in rows
    ]


def _number(job_id: str) -> int:
    if not (job_id.isascii() and job_id.isdigit() and len(job_id) < 19):
        raise NotFound(f"there is no job {job_id[:64]!r}")
    return int(job_id)
