"""Retention policies: at most one for a project, with rules and a schedule. Each function is one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import transaction
from django.db.models.functions import Now

from projects.events import RetentionCreated, RetentionDeleted, RetentionEvent, RetentionUpdated
from projects.models import ProjectSettings, RetentionPolicy
from projects.retention.rules import Rule, check_rules, rule_from_json, rule_to_json
from registry_core.access import Cause
from registry_core.content.models import Project
from registry_core.errors import AlreadyExists, NotFound
from registry_core.events.outbox import emit
from registry_core.jobs import executions, schedules
from registry_core.jobs.kinds import JobKind
from registry_core.jobs.schedules import Type

METADATA: Final = "retention_id"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A policy as a client wants it. `cron`: six fields; empty: it only runs when it is started."""

    rules: Sequence[Rule]
    cron: str


def create_policy(*, project: Project, wanted: Wanted, kind: JobKind[Any], cause: Cause) -> RetentionPolicy:
    """Give a project its policy. Raises AlreadyExists if it has one, NotFound if it is deleted, or InvalidInput."""
    check_rules(wanted.rules)
    with transaction.atomic():
        _lock(project)
        if RetentionPolicy.objects.filter(project=project).exists():
            raise AlreadyExists(f"the project {project.name} has a retention policy already: change that one")
        policy = RetentionPolicy.objects.create(project=project, rules=list(map(rule_to_json, wanted.rules)))
        _schedule(policy, wanted.cron, kind, cause)
        _note_id(project, str(policy.pk))
        _emit(RetentionCreated, policy, cause)
    return policy


def update_policy(*, policy: RetentionPolicy, wanted: Wanted, kind: JobKind[Any], cause: Cause) -> None:
    """Replace the rules and the schedule of a policy. Raises NotFound or InvalidInput."""
    check_rules(wanted.rules)
    with transaction.atomic():
        rules = list(map(rule_to_json, wanted.rules))
        if not RetentionPolicy.objects.filter(pk=policy.pk).update(rules=rules, updated_at=Now()):
            raise NotFound(f"there is no retention policy {policy.pk}")
        _schedule(policy, wanted.cron, kind, cause)
        _emit(RetentionUpdated, policy, cause)


def delete_policy(*, policy: RetentionPolicy, kind: JobKind[Any], cause: Cause) -> None:
    """Remove a policy; a run in progress is stopped. Raises NotFound."""
    with transaction.atomic():
        deleted, _ = RetentionPolicy.objects.filter(pk=policy.pk).delete()
        if not deleted:
            raise NotFound(f"there is no retention policy {policy.pk}")
        schedules.remove(kind, policy.pk)
        for number in executions.open_of(kind, policy.pk):
            executions.stop(number)
        _note_id(policy.project, None)
        _emit(RetentionDeleted, policy, cause)


def rules_of(policy: RetentionPolicy) -> list[Rule]:
    """The rules of a policy."""
    return [rule_from_json(row) for row in policy.rules]


def _lock(project: Project) -> None:
    if not Project.objects.select_for_update(no_key=True).filter(pk=project.pk, deleted_at=None).exists():
        raise NotFound(f"there is no project {project.name}")


def _schedule(policy: RetentionPolicy, cron: str, kind: JobKind[Any], cause: Cause) -> None:
    schedules.set_schedule(
        kind,
        type=Type.CUSTOM if cron else Type.NONE,
        cron=cron,
        cause=cause,
        parameters={"policy": policy.pk},
        subject_ref=policy.pk,
        project_id=policy.project_id,
    )


def _note_id(project: Project, policy_id: str | None) -> None:
    """Clients of the contract find the policy by the project's metadata."""
    settings, _ = ProjectSettings.objects.select_for_update().get_or_create(project=project)
    settings.metadata = {name: value for name, value in settings.metadata.items() if name != METADATA}
    if policy_id is not None:
        settings.metadata[METADATA] = policy_id
    settings.save(update_fields=["metadata"])


def _emit(event: type[RetentionEvent], policy: RetentionPolicy, cause: Cause) -> None:
    emit(
        event(policy=policy.pk, name=policy.project.name),
        cause=cause,
        project_id=policy.project_id,
    )
