"""The models of background work: executions, their tasks and logs, schedules, and the processes that run tasks.

Postgres has all that is needed to run or repeat a task; the broker only wakes workers. See `docs/data-model.md`.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Status(models.IntegerChoices):
    """Where an execution or a task is; the labels are the contract's words."""

    PENDING = 0, "Pending"
    RUNNING = 1, "Running"
    SUCCESS = 2, "Success"
    ERROR = 3, "Error"
    STOPPED = 4, "Stopped"


class Trigger(models.TextChoices):
    """What started an execution."""

    MANUAL = "MANUAL"
    SCHEDULE = "SCHEDULE"
    EVENT = "EVENT"


OPEN = (Status.PENDING, Status.RUNNING)
PENDING = int(Status.PENDING)
RUNNING = int(Status.RUNNING)
"""For statements: a literal, because the partial indexes of tasks have literals."""


class Execution(models.Model):
    """One run of a job: its tasks, their outcome in numbers, and who started it.

    `subject_ref`: the row of the kind that it is about (a retention policy), 0 for what is there once. `is_exclusive`:
    there is at most one open execution of this kind and reference.
    """

    kind = models.CharField(max_length=64, db_collation="C")
    subject_ref = models.BigIntegerField(default=0)
    project_id = models.BigIntegerField(default=0)
    trigger = models.CharField(max_length=16, choices=Trigger.choices)
    status = models.PositiveSmallIntegerField(choices=Status.choices, default=Status.PENDING)
    is_exclusive = models.BooleanField(default=False)
    parameters = models.JSONField(default=dict)
    subject_kind = models.PositiveSmallIntegerField()
    subject_id = models.BigIntegerField()
    client = models.CharField(max_length=64, blank=True, default="")
    request_id = models.CharField(max_length=255, blank=True, default="")
    tasks_total = models.IntegerField(default=0)
    tasks_succeeded = models.IntegerField(default=0)
    tasks_failed = models.IntegerField(default=0)
    tasks_stopped = models.IntegerField(default=0)
    stop_requested = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject_ref"],
                condition=Q(is_exclusive=True, status__in=OPEN),
                name="execution_one_active",
            )
        ]
        indexes = [
            models.Index(fields=["kind", "subject_ref", "-id"], name="execution_history"),
            models.Index(fields=["ended_at"], name="execution_age"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class Task(models.Model):
    """One piece of an execution, run by one worker at a time.

    `token` is the fence: it grows whenever the task changes hands, so that a worker that lost the task can no longer
    change anything. `lease_until`: when others may take the task from a worker that has not renewed its lease.
    `is_bulk`: work that nobody waits for.
    """

    execution = models.ForeignKey(Execution, models.CASCADE, related_name="tasks")
    kind = models.CharField(max_length=64, db_collation="C")
    project_id = models.BigIntegerField(default=0)
    is_bulk = models.BooleanField(default=False)
    status = models.PositiveSmallIntegerField(choices=Status.choices, default=Status.PENDING)
    parameters = models.JSONField(default=dict)
    result = models.JSONField(default=dict)
    message = models.TextField(blank=True, default="")
    attempts = models.IntegerField(default=0)
    run_at = models.DateTimeField(db_default=Now(), help_text="not before")
    token = models.BigIntegerField(default=0)
    worker = models.CharField(max_length=64, blank=True, default="", db_collation="C")
    lease_until = models.DateTimeField(null=True)
    stop_requested_at = models.DateTimeField(null=True)
    done = models.BigIntegerField(default=0)
    total = models.BigIntegerField(default=0)
    log_bytes = models.IntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["is_bulk", "kind", "project_id", "run_at", "id"],
                condition=Q(status=Status.PENDING),
                name="task_ready",
            ),
            models.Index(fields=["kind", "project_id"], condition=Q(status=Status.RUNNING), name="task_running"),
        ]

    def __str__(self) -> str:
        return f"task {self.pk} of {self.kind}"

    @property
    def rate(self) -> float:
        """Units done per second since the task began; 0 while nothing is known."""
        if self.started_at is None or self.updated_at <= self.started_at:
            return 0.0
        return self.done / (self.updated_at - self.started_at).total_seconds()

    @property
    def left_s(self) -> float | None:
        """The seconds until the task is done if it goes on as before; None while that is unknown or it has ended."""
        is_known = self.status == Status.RUNNING and self.total > 0 and self.rate > 0
        return max(0.0, (self.total - self.done) / self.rate) if is_known else None


class TaskLog(models.Model):
    """A few lines of a task's log."""

    task = models.ForeignKey(Task, models.CASCADE, related_name="log")
    text = models.TextField()

    def __str__(self) -> str:
        return f"log {self.pk}"


class Turn(models.Model):
    """When a project last had a turn, so that all projects that have tasks get one in rotation."""

    project_id = models.BigIntegerField(primary_key=True)
    served_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"turn of project {self.project_id}"


class Schedule(models.Model):
    """When an execution starts by itself: a cron expression of six fields, and the next time by it.

    Rows of the type `None` have no next time: the schedule was cancelled.
    """

    kind = models.CharField(max_length=64, db_collation="C")
    subject_ref = models.BigIntegerField(default=0)
    project_id = models.BigIntegerField(default=0)
    type = models.CharField(max_length=16)
    cron = models.CharField(max_length=255, blank=True, default="")
    parameters = models.JSONField(default=dict)
    subject_kind = models.PositiveSmallIntegerField()
    subject_id = models.BigIntegerField()
    next_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "subject_ref"], name="schedule_of_one")]
        indexes = [models.Index(fields=["next_at"], condition=Q(next_at__isnull=False), name="schedule_due")]

    def __str__(self) -> str:
        return f"schedule of {self.kind}"


class PausedQueue(models.Model):
    """A kind of task that no worker takes; `scheduler` stands for all schedules."""

    name = models.CharField(max_length=64, primary_key=True, db_collation="C")
    paused_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.name


class Pool(models.Model):
    """A process that runs tasks, each in a thread of its own."""

    id = models.CharField(max_length=32, primary_key=True, db_collation="C")
    host = models.CharField(max_length=255)
    pid = models.IntegerField()
    concurrency = models.IntegerField()
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"pool {self.id} on {self.host}"
