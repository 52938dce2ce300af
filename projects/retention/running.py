"""Running a retention policy: a job with one task for each repository that a rule is about.

What is deleted was not retained when its repository was evaluated, and is judged again under its locks: an artifact
that was pushed, tagged or pulled since then stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from django.db import connection, transaction

from projects.events import RetentionApplied
from projects.models import RetentionPolicy
from projects.retention.evaluation import Verdict, applicable, current, evaluate
from projects.retention.policies import rules_of
from projects.retention.rules import Rule
from registry_core.access import Cause
from registry_core.content.errors import ContentError
from registry_core.content.manifests import delete_manifest
from registry_core.content.models import ManifestDescriptor, Repository
from registry_core.content.repositories import RepositoryRef, repository_ref
from registry_core.content.untagged import refuse_wanted
from registry_core.digests import Digest
from registry_core.errors import OperationError
from registry_core.events.outbox import emit
from registry_core.jobs.models import Task
from registry_core.jobs.running import Run

RECEIPT_MAX: Final = 20
"""Artifacts that the entry in the audit log names; the log of the job has all."""
REASON: Final = "retention"
# The manifests below an index, level by level.
_CHILDREN: Final = """
    WITH RECURSIVE below AS (
        SELECT manifest_id, digest FROM content_artifact WHERE id = %(artifact)s
        UNION
        SELECT child.manifest_id, child.digest FROM below
        JOIN content_manifestdescriptor AS entry ON entry.manifest_id = below.manifest_id AND entry.role = %(manifest)s
        JOIN content_artifact AS child ON child.digest = entry.digest AND child.repository_id = %(repository)s
          AND child.deleted_at IS NULL
    )
    SELECT digest FROM below WHERE digest <> (SELECT digest FROM content_artifact WHERE id = %(artifact)s)
"""


class RetentionParameters(msgspec.Struct, omit_defaults=True):
    """`repository` 0: the task that makes one for each repository. `name`: the repository's, without its project."""

    policy: int = 0
    dry_run: bool = False
    repository: int = 0
    name: str = ""


class PolicyChanged(Exception):
    """The rules are no longer those that were evaluated: the task is repeated."""


class _Changed(OperationError):
    """The artifact is not as it was evaluated: it stays."""


def run_policy(run: Run[RetentionParameters]) -> dict[str, Any]:
    """Run one task of a policy."""
    policy = RetentionPolicy.objects.select_related("project").filter(pk=run.parameters.policy).first()
    if policy is None or policy.project.deleted_at is not None:
        run.log("the retention policy or its project was deleted: there is nothing to do")
        return {}
    rules = rules_of(policy)
    if run.parameters.repository == 0:
        return _plan(run, policy, rules)
    found = Repository.objects.select_related("project").filter(pk=run.parameters.repository, deleted_at=None).first()
    if found is None:
        run.log("the repository was deleted meanwhile")
        return {"total": 0, "retained": 0}
    return _run_in(run, policy, rules, repository_ref(found))


def repositories_of(policy: RetentionPolicy, rules: Sequence[Rule]) -> list[tuple[int, str]]:
    """Id and name, without the project, of the repositories that a rule is about, by name."""
    living = Repository.objects.filter(project_id=policy.project_id, deleted_at=None).order_by("name")
    rows = living.values_list("pk", "name")
    return [(number, name) for number, name in rows.iterator() if applicable(rules, name)]


def _plan(run: Run[RetentionParameters], policy: RetentionPolicy, rules: Sequence[Rule]) -> dict[str, Any]:
    chosen = repositories_of(policy, rules)
    base = msgspec.to_builtins(run.parameters)
    with run.fenced():
        if Task.objects.filter(execution_id=run.claim.execution_id).exclude(pk=run.claim.task_id).exists():
            return {"repositories": len(chosen)}  # an attempt before this one did it
        run.add_tasks([base | {"repository": number, "name": name} for number, name in chosen])
    run.log(f"{len(chosen)} repositories are selected by the rules of the policy")
    return {"repositories": len(chosen)}


def _run_in(
    run: Run[RetentionParameters], policy: RetentionPolicy, rules: Sequence[Rule], repository: RepositoryRef
) -> dict[str, Any]:
    verdicts = evaluate(repository, rules)
    doomed = [verdict for verdict in verdicts if not verdict.is_retained]
    for verdict in verdicts:
        run.log(str(verdict))
    is_dry_run = run.parameters.dry_run
    deleted = doomed if is_dry_run else _delete(run, policy, repository, doomed, examined=len(verdicts))
    size = sum(verdict.candidate.size_bytes for verdict in deleted)
    verb = "would delete" if is_dry_run else "deleted"
    run.log(f"{verb} {len(deleted)} of {len(verdicts)} artifacts of {repository.name}, {size} bytes")
    return {"total": len(verdicts), "retained": len(verdicts) - len(deleted), "bytes": size}


def _delete(
    run: Run[RetentionParameters],
    policy: RetentionPolicy,
    repository: RepositoryRef,
    doomed: Sequence[Verdict],
    *,
    examined: int,
) -> list[Verdict]:
    """Delete one after the other; the receipt says what was deleted, also if the run is stopped in the middle."""
    cause = run.cause.because(REASON)
    deleted: list[Verdict] = []
    try:
        for number, verdict in enumerate(doomed):
            run.check()
            if _delete_one(run, policy, repository, verdict, cause):
                deleted.append(verdict)
            run.progress(number + 1, len(doomed))
    finally:
        if deleted:
            _leave_receipt(run, policy, repository, deleted, retained=examined - len(deleted))
    return deleted


def _delete_one(
    run: Run[RetentionParameters], policy: RetentionPolicy, repository: RepositoryRef, verdict: Verdict, cause: Cause
) -> bool:
    candidate = verdict.candidate
    children = _children(repository, candidate.id)

    def is_as_evaluated(_tags: set[str]) -> None:
        run.hold()
        if not RetentionPolicy.objects.filter(pk=policy.pk, updated_at=policy.updated_at).exists():
            raise PolicyChanged("the policy was changed meanwhile: what it says now is looked at from the start")
        if current(repository, candidate.digest) != candidate:
            raise _Changed("it was pushed, tagged or pulled meanwhile")

    if not _is_deleted(run, repository, Digest(candidate.digest), cause, is_as_evaluated):
        return False
    for child in children:
        _is_deleted(run, repository, child, cause, _no_longer_wanted(run, repository, child))
    return True


def _is_deleted(
    run: Run[RetentionParameters],
    repository: RepositoryRef,
    digest: Digest,
    cause: Cause,
    unless: Callable[[set[str]], None],
) -> bool:
    try:
        delete_manifest(repository=repository, digest=digest, cause=cause, unless=unless)
    except (ContentError, OperationError) as error:
        run.log(f"keep {digest}: {error}")
        return False
    return True


def _no_longer_wanted(
    run: Run[RetentionParameters], repository: RepositoryRef, child: Digest
) -> Callable[[set[str]], None]:
    """Children follow their index, unless another index or a tag keeps them, or they were pushed again just now."""
    refuse = refuse_wanted(repository, child)

    def check(tags: set[str]) -> None:
        run.hold()
        refuse(tags)

    return check


def _children(repository: RepositoryRef, artifact_id: int) -> list[Digest]:
    values = {
        "artifact": artifact_id,
        "manifest": int(ManifestDescriptor.Role.MANIFEST),
        "repository": repository.id,
    }
    with connection.cursor() as cursor:
        cursor.execute(_CHILDREN, values)
        return [Digest(bytes(row[0])) for row in cursor.fetchall()]


@transaction.atomic
def _leave_receipt(
    run: Run[RetentionParameters],
    policy: RetentionPolicy,
    repository: RepositoryRef,
    deleted: Sequence[Verdict],
    *,
    retained: int,
) -> None:
    emit(
        RetentionApplied(
            policy=policy.pk,
            execution=run.claim.execution_id,
            deleted=len(deleted),
            retained=retained,
            bytes=sum(verdict.candidate.size_bytes for verdict in deleted),
            artifacts=[verdict.name for verdict in deleted[:RECEIPT_MAX]],
        ),
        cause=run.cause.because(REASON),
        project_id=policy.project_id,
        repository_id=repository.id,
    )
