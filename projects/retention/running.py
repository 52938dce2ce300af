"""Running a retention policy: a job with one task for each repository that a rule is about.

What is deleted was not retained when its repository was evaluated, and has the same tags when it is deleted: an
artifact that is tagged or pushed meanwhile stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from django.db import connection

from projects.events import RetentionApplied
from projects.models import RetentionPolicy
from projects.retention.evaluation import Verdict, applicable, evaluate
from projects.retention.policies import rules_of
from projects.retention.rules import Rule
from registry_core.access import Cause
from registry_core.content.errors import ContentError
from registry_core.content.manifests import delete_manifest, refuse_tagged
from registry_core.content.models import Artifact, ManifestDescriptor, Repository
from registry_core.content.repositories import RepositoryRef, repository_ref
from registry_core.digests import Digest
from registry_core.errors import NotFound, OperationError
from registry_core.events.outbox import emit
from registry_core.jobs.running import Run

RECEIPT_MAX: Final = 20
"""Artifacts that the entry in the audit log names; the log of the job has all."""
REASON: Final = "retention"
_CHILDREN: Final = """
    SELECT DISTINCT entry.digest FROM content_manifestdescriptor AS entry
    JOIN content_artifact AS parent ON parent.manifest_id = entry.manifest_id
    WHERE parent.id = ANY(%s) AND entry.role = %s
"""


class RetentionParameters(msgspec.Struct, omit_defaults=True):
    """`repository` 0: the task that makes one for each repository. `name`: the repository's, without its project."""

    policy: int = 0
    dry_run: bool = False
    repository: int = 0
    name: str = ""


class _Changed(OperationError):
    """The artifact is not as it was evaluated: it stays."""


def run_policy(run: Run[RetentionParameters]) -> dict[str, Any]:
    """Run one task of a policy."""
    policy = RetentionPolicy.objects.select_related("project").filter(pk=run.parameters.policy).first()
    if policy is None or policy.project.deleted_at is not None:
        raise NotFound("the retention policy or its project was deleted meanwhile: nothing is left to do")
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
    deleted = doomed if run.parameters.dry_run else _delete(run, repository, doomed)
    size = sum(verdict.candidate.size_bytes for verdict in deleted)
    verb = "would delete" if run.parameters.dry_run else "deleted"
    run.log(f"{verb} {len(deleted)} of {len(verdicts)} artifacts of {repository.name}, {size} bytes")
    if deleted and not run.parameters.dry_run:
        with run.fenced():
            _leave_receipt(run, policy, repository, deleted, retained=len(verdicts) - len(deleted), size=size)
    return {"total": len(verdicts), "retained": len(verdicts) - len(deleted), "bytes": size}


def _delete(run: Run[RetentionParameters], repository: RepositoryRef, doomed: Sequence[Verdict]) -> list[Verdict]:
    cause = run.cause.because(REASON)
    children = _children([verdict.candidate.id for verdict in doomed])
    deleted = []
    for number, verdict in enumerate(doomed):
        run.check()
        if _delete_one(run, repository, verdict, cause):
            deleted.append(verdict)
        run.progress(number + 1, len(doomed))
    _delete_children(run, repository, children, cause)
    return deleted


def _delete_one(run: Run[RetentionParameters], repository: RepositoryRef, verdict: Verdict, cause: Cause) -> bool:
    candidate = verdict.candidate

    def is_as_evaluated(tags: set[str]) -> None:
        run.hold()
        pushed_at = Artifact.objects.values_list("pushed_at", flat=True).get(pk=candidate.id)
        if tags != set(candidate.tags) or pushed_at > candidate.pushed_at:
            raise _Changed(f"{verdict.name} was pushed or tagged meanwhile")

    try:
        delete_manifest(repository=repository, digest=Digest(candidate.digest), cause=cause, unless=is_as_evaluated)
    except (ContentError, OperationError) as error:
        run.log(f"keep {verdict.name}: {error}")
        return False
    return True


def _children(artifact_ids: list[int]) -> list[Digest]:
    with connection.cursor() as cursor:
        cursor.execute(_CHILDREN, [artifact_ids, int(ManifestDescriptor.Role.MANIFEST)])
        return [Digest(bytes(row[0])) for row in cursor.fetchall()]


def _delete_children(
    run: Run[RetentionParameters], repository: RepositoryRef, children: Iterable[Digest], cause: Cause
) -> None:
    """Children follow their index, unless another index or a tag keeps them."""

    def is_untagged(tags: set[str]) -> None:
        run.hold()
        refuse_tagged(tags)

    for child in children:
        run.check()
        try:
            delete_manifest(repository=repository, digest=child, cause=cause, unless=is_untagged)
        except (ContentError, OperationError) as error:
            run.log(f"keep the child {child}: {error}")


def _leave_receipt(
    run: Run[RetentionParameters],
    policy: RetentionPolicy,
    repository: RepositoryRef,
    deleted: Sequence[Verdict],
    *,
    retained: int,
    size: int,
) -> None:
    emit(
        RetentionApplied(
            policy=policy.pk,
            execution=run.claim.execution_id,
            deleted=len(deleted),
            retained=retained,
            bytes=size,
            artifacts=[verdict.name for verdict in deleted[:RECEIPT_MAX]],
        ),
        cause=run.cause.because(REASON),
        project_id=policy.project_id,
        repository_id=repository.id,
    )
