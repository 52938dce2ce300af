"""`/retentions`: the retention policy of a project, its runs, and what it will delete."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

from django.db.models import QuerySet
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from projects import tasks
from projects.api.retention_messages import (
    ALGORITHM,
    PROJECT,
    SCHEDULE,
    RetentionAction,
    RetentionExecution,
    RetentionExecutionTask,
    RetentionMetadata,
    RetentionPolicyAnswer,
    RetentionPolicyRequest,
    RetentionPolicyScope,
    RetentionRule,
    RetentionRuleMetadata,
    RetentionRuleParamMetadata,
    RetentionRuleTrigger,
    RetentionRun,
    RetentionSelectorMetadata,
    UpcomingDeletion,
)
from projects.api.selector_messages import selector_messages, selectors_of
from projects.models import RetentionPolicy
from projects.retention.evaluation import evaluate
from projects.retention.policies import Wanted, create_policy, delete_policy, rules_of, update_policy
from projects.retention.rules import ACTION, REPOSITORY, RULES_MAX, TEMPLATES, Rule, parse_rule
from projects.retention.running import repositories_of
from projects.selectors import KIND, OF_REPOSITORIES, OF_TAGS
from registry_core.api.base import ApiView, created, done, find_project
from registry_core.api.jobservice import text_of
from registry_core.api.messages import api_time, parse_body
from registry_core.api.openapi import CURSOR, PAGE, PAGE_SIZE, operation
from registry_core.api.paging import ListRules, listed
from registry_core.api.permissions import SIGNED_IN, Computed, in_project
from registry_core.api.permissions import Rule as Access
from registry_core.content.models import Project, Repository
from registry_core.content.repositories import repository_ref
from registry_core.digests import Digest
from registry_core.errors import InvalidInput, NotFound
from registry_core.jobs import executions, schedules, task_logs
from registry_core.jobs.models import Execution, Status, Task

TAG: Final = "Retention"
RESOURCE: Final = "tag-retention"
CRON: Final = "cron"
UPCOMING_MAX: Final = 1000
NEWEST: Final = ListRules(sorts={"id": "pk"}, order=("-pk",))
OLDEST: Final = ListRules(sorts={"id": "pk"}, order=("pk",))
LISTED: Final = [PAGE, PAGE_SIZE, CURSOR]


class MetadataView(ApiView):
    """`/retentions/metadatas`."""

    access = {"GET": SIGNED_IN}

    @operation("getRentenitionMetadata", TAG, answer=RetentionMetadata, errors=(401,))
    def get(self, _request: Request) -> Response:
        """Get the templates and selectors of rules."""
        return Response(
            RetentionMetadata(
                templates=[
                    RetentionRuleMetadata(
                        rule_template=name,
                        display_text=template.text,
                        action=ACTION,
                        params=[RetentionRuleParamMetadata(type="int", unit=template.unit, required=True)]
                        if template.unit
                        else [],
                    )
                    for name, template in TEMPLATES.items()
                ],
                scope_selectors=[_selector("Repositories", OF_REPOSITORIES)],
                tag_selectors=[_selector("Tags", OF_TAGS)],
            )
        )


class RetentionsView(ApiView):
    """`/retentions`."""

    access = {"POST": Computed(lambda view: in_project(RESOURCE, "create"))}

    @cached_property
    def asked(self) -> RetentionPolicyRequest:
        """The policy of the request."""
        return parse_body(self.request, RetentionPolicyRequest)

    @property
    def named_project(self) -> str:
        """The project that the policy is about."""
        scope = self.asked.scope
        if scope is None or scope.level != PROJECT or scope.ref <= 0:
            raise InvalidInput(f"a retention policy is about a project: send scope.level {PROJECT} and its id as ref")
        return str(scope.ref)

    @cached_property
    def found_project(self) -> Project | None:
        """The project that the policy is about."""
        return find_project(self.named_project)

    @operation("createRetention", TAG, body=RetentionPolicyRequest, status=201, errors=(400, 401, 403, 404, 409))
    def post(self, request: Request) -> Response:
        """Give a project its retention policy."""
        policy = create_policy(
            project=self.project, wanted=_wanted(self.asked), kind=tasks.apply_retention, cause=self.cause
        )
        return created(f"{request.path}/{policy.pk}")


class OfPolicyView(ApiView):
    """The base of views about one policy: the project is that of the policy."""

    @cached_property
    def policy(self) -> RetentionPolicy:
        """The policy of the URL. Raises NotFound."""
        rows = RetentionPolicy.objects.select_related("project").filter(project__deleted_at=None)
        found = rows.filter(pk=self.kwargs["id"]).first()
        if found is None:
            raise NotFound(f"there is no retention policy {self.kwargs['id']}")
        return found

    @cached_property
    def found_project(self) -> Project | None:
        """The policy's project. One that the caller may not see is reported like none."""
        rows = RetentionPolicy.objects.select_related("project").filter(project__deleted_at=None)
        found = rows.filter(pk=self.kwargs["id"]).first()
        return found.project if found else None

    @property
    def named_project(self) -> str:
        """For messages."""
        return f"with the retention policy {self.kwargs['id']}"


def _of_policy(action: str) -> Access:
    return in_project(RESOURCE, action)


class RetentionView(OfPolicyView):
    """`/retentions/{id}`."""

    access = {"GET": _of_policy("read"), "PUT": _of_policy("update"), "DELETE": _of_policy("delete")}

    @operation("getRetention", TAG, answer=RetentionPolicyAnswer, errors=(401, 403, 404))
    def get(self, _request: Request, id: int) -> Response:
        """Get a retention policy."""
        return Response(_answer(self.policy))

    @operation("updateRetention", TAG, body=RetentionPolicyRequest)
    def put(self, request: Request, id: int) -> Response:
        """Replace the rules and the schedule of a policy."""
        asked = parse_body(request, RetentionPolicyRequest)
        if asked.scope is not None and asked.scope.ref not in {0, self.policy.project_id}:
            raise InvalidInput("a retention policy cannot be moved to another project: create one there")
        update_policy(policy=self.policy, wanted=_wanted(asked), kind=tasks.apply_retention, cause=self.cause)
        return done()

    @operation("deleteRetention", TAG, errors=(401, 403, 404))
    def delete(self, _request: Request, id: int) -> Response:
        """Remove a policy; a run in progress is stopped."""
        delete_policy(policy=self.policy, kind=tasks.apply_retention, cause=self.cause)
        return done()


class UpcomingView(OfPolicyView):
    """`/retentions/{id}/upcoming`."""

    access = {"GET": _of_policy("read")}

    @operation("getUpcomingRetention", TAG, answer=list[UpcomingDeletion], errors=(401, 403, 404))
    def get(self, _request: Request, id: int) -> Response:
        """List what the next scheduled run deletes if nothing changes until then: the first 1,000 artifacts."""
        schedule = schedules.schedule_of(tasks.apply_retention, self.policy.pk)
        return Response(_upcoming(self.policy, schedule.next_at if schedule else None))


class ExecutionsView(OfPolicyView):
    """`/retentions/{id}/executions`."""

    access = {"GET": _of_policy("list"), "POST": _of_policy("update")}

    @operation("listRetentionExecutions", TAG, parameters=LISTED, answer=list[RetentionExecution])
    def get(self, request: Request, id: int) -> Response:
        """List the runs of a policy, the last one first."""
        return listed(request, _runs(self.policy), NEWEST, _executions)

    @operation("triggerRetentionExecution", TAG, body=RetentionRun, status=201, errors=(400, 401, 403, 404, 409))
    def post(self, request: Request, id: int) -> Response:
        """Run a policy now. A dry run deletes nothing and says what it would delete, and what retains the rest."""
        is_dry_run = parse_body(request, RetentionRun).dry_run
        number = executions.start(
            tasks.apply_retention,
            cause=self.cause,
            parameters={"policy": self.policy.pk, "dry_run": is_dry_run},
            subject_ref=self.policy.pk,
            project_id=self.policy.project_id,
        )
        return created(f"{request.path}/{number}")


class ExecutionView(OfPolicyView):
    """`/retentions/{id}/executions/{eid}`."""

    access = {"PATCH": _of_policy("update")}

    @operation("operateRetentionExecution", TAG, body=RetentionAction)
    def patch(self, request: Request, id: int, eid: int) -> Response:
        """Stop a run; it ends within seconds."""
        if parse_body(request, RetentionAction).action != "stop":
            raise InvalidInput("a run can only be stopped: send the action stop")
        executions.stop(_run(self.policy, eid).pk)
        return done()


class TasksView(OfPolicyView):
    """`/retentions/{id}/executions/{eid}/tasks`."""

    access = {"GET": _of_policy("list")}

    @operation("listRetentionTasks", TAG, parameters=LISTED, answer=list[RetentionExecutionTask])
    def get(self, request: Request, id: int, eid: int) -> Response:
        """List what a run did, by repository."""
        return listed(request, _tasks(_run(self.policy, eid)), OLDEST, _task_answers)


class TaskLogView(OfPolicyView):
    """`/retentions/{id}/executions/{eid}/tasks/{tid}`."""

    access = {"GET": _of_policy("read")}

    @operation("getRetentionTaskLog", TAG, answer=str, media_type="text/plain", errors=(401, 403, 404))
    def get(self, _request: Request, id: int, eid: int, tid: int) -> HttpResponse:
        """Get the log of a run in one repository: each artifact, and what retains it or that nothing does."""
        task = _tasks(_run(self.policy, eid)).filter(pk=tid).first()
        if task is None:
            raise NotFound(f"there is no task {tid} in the run {eid}")
        return text_of(task_logs.pieces([task.pk]))


def _selector(text: str, decorations: Sequence[str]) -> RetentionSelectorMetadata:
    return RetentionSelectorMetadata(display_text=text, kind=KIND, decorations=list(decorations))


def _wanted(asked: RetentionPolicyRequest) -> Wanted:
    if asked.algorithm not in {"", ALGORITHM}:
        raise InvalidInput(f"the algorithm of a retention policy is {ALGORITHM}, not {asked.algorithm[:32]!r}")
    if len(asked.rules) > RULES_MAX:
        raise InvalidInput(f"a retention policy has at most {RULES_MAX} rules, this one has {len(asked.rules)}")
    return Wanted([_rule(place + 1, rule) for place, rule in enumerate(asked.rules)], _cron(asked.trigger))


def _cron(trigger: RetentionRuleTrigger | None) -> str:
    if trigger is None:
        return ""
    if trigger.kind not in {"", SCHEDULE}:
        raise InvalidInput(f"the trigger of a retention policy is {SCHEDULE}, not {trigger.kind[:32]!r}")
    cron = trigger.settings.get(CRON) or ""
    if not isinstance(cron, str):
        raise InvalidInput("trigger.settings.cron is a text of six fields")
    return cron


def _rule(number: int, asked: RetentionRule) -> Rule:
    if asked.scope_selectors.keys() - {REPOSITORY}:
        raise InvalidInput(f"scope_selectors has selectors of repositories under {REPOSITORY}, and nothing else")
    return parse_rule(
        number,
        priority=asked.priority,
        is_disabled=asked.disabled,
        action=asked.action,
        template=asked.template,
        params=asked.params,
        tags=selectors_of(asked.tag_selectors),
        repositories=selectors_of(asked.scope_selectors.get(REPOSITORY, [])),
    )


def _answer(policy: RetentionPolicy) -> RetentionPolicyAnswer:
    schedule = schedules.schedule_of(tasks.apply_retention, policy.pk)
    return RetentionPolicyAnswer(
        id=policy.pk,
        algorithm=ALGORITHM,
        rules=[_rule_answer(rule) for rule in rules_of(policy)],
        trigger=RetentionRuleTrigger(
            kind=SCHEDULE,
            settings={
                CRON: schedule.cron if schedule else "",
                "next_scheduled_time": api_time(schedule.next_at) if schedule and schedule.next_at else None,
            },
            references={"job_id": schedule.pk} if schedule and schedule.next_at else {},
        ),
        scope=RetentionPolicyScope(level=PROJECT, ref=policy.project_id),
    )


def _rule_answer(rule: Rule) -> RetentionRule:
    return RetentionRule(
        id=rule.id,
        priority=rule.priority,
        disabled=rule.is_disabled,
        action=ACTION,
        template=rule.template,
        params={rule.template: rule.number} if TEMPLATES[rule.template].unit else {},
        tag_selectors=selector_messages(rule.selection.tags),
        scope_selectors={REPOSITORY: selector_messages(rule.selection.repositories)},
    )


def _upcoming(policy: RetentionPolicy, at: dt.datetime | None) -> list[UpcomingDeletion]:
    rules = rules_of(policy)
    found: list[UpcomingDeletion] = []
    for number, _name in repositories_of(policy, rules):
        row = Repository.objects.select_related("project").filter(pk=number, deleted_at=None).first()
        if row is None:
            continue
        repository = repository_ref(row)
        found += [
            UpcomingDeletion(
                repository=str(repository.name),
                digest=str(Digest(verdict.candidate.digest)),
                tags=list(verdict.candidate.tags),
                size=verdict.candidate.size_bytes,
                push_time=api_time(verdict.candidate.pushed_at),
                time=api_time(at) if at else "",
            )
            for verdict in evaluate(repository, rules, at=at)
            if not verdict.is_retained
        ]
        if len(found) >= UPCOMING_MAX:
            break
    return found[:UPCOMING_MAX]


def _runs(policy: RetentionPolicy) -> QuerySet[Execution]:
    return Execution.objects.filter(kind=tasks.apply_retention.name, subject_ref=policy.pk)


def _run(policy: RetentionPolicy, number: int) -> Execution:
    found = _runs(policy).filter(pk=number).first()
    if found is None:
        raise NotFound(f"there is no run {number} of the retention policy {policy.pk}")
    return found


def _tasks(execution: Execution) -> QuerySet[Task]:
    """The tasks of a run that are about a repository."""
    return Task.objects.filter(execution_id=execution.pk, parameters__repository__gt=0)


def _executions(rows: Sequence[Execution]) -> list[Any]:
    return [
        RetentionExecution(
            id=row.pk,
            policy_id=row.subject_ref,
            start_time=api_time(row.created_at),
            end_time=api_time(row.ended_at) if row.ended_at else "",
            status=Status(row.status).label,
            trigger=str(row.trigger).capitalize(),
            dry_run=bool(row.parameters.get("dry_run")),
        )
        for row in rows
    ]


def _task_answers(rows: Sequence[Task]) -> list[Any]:
    return [
        RetentionExecutionTask(
            id=row.pk,
            execution_id=row.execution_id,
            repository=row.parameters.get("name", ""),
            job_id=str(row.pk),
            status=Status(row.status).label,
            status_code=row.status,
            status_revision=int(row.updated_at.timestamp()),
            start_time=api_time(row.started_at) if row.started_at else "",
            end_time=api_time(row.ended_at) if row.ended_at else "",
            total=row.result.get("total", 0),
            retained=row.result.get("retained", 0),
        )
        for row in rows
    ]
