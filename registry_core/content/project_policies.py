"""Which policies apply in a project: changed here, and read again by operations that protect what exists.

A request learns the policies of its project when it begins, and may take long. Before a tag is moved or content is
deleted they are therefore read again, in the transaction and under a lock that turning a policy on waits for: a rule
that was acknowledged protects against every change that is not complete by then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from django.db import connection

from registry_core.access import Cause
from registry_core.content.events import ProjectPoliciesChanged
from registry_core.content.repositories import ProjectRef, RepositoryRef, changing, name_key, project_key
from registry_core.database.statements import statements
from registry_core.errors import NotFound
from registry_core.events.outbox import emit

LOCK_SPACE: Final = 0x706F6C
"""The first key of the advisory locks of projects; the second is the low half of the project's id."""
_LOCK_ALL: Final = "SELECT pg_advisory_xact_lock(%s, %s)"
_LOCK_SHARED: Final = "SELECT pg_advisory_xact_lock_shared(%s, %s)"
_READ: Final = "SELECT policies FROM content_project WHERE id = %s"
_HOLD: Final = "SELECT policies FROM content_project WHERE id = %s AND deleted_at IS NULL FOR NO KEY UPDATE"
_APPLY: Final = "UPDATE content_project SET policies = %s WHERE id = %s"


@dataclass(slots=True)
class Applied:
    """The names of the policies that apply in a project: what a change starts from, and makes of it."""

    names: set[str] = field(default_factory=set)

    def turn(self, name: str, *, is_on: bool) -> None:
        """Turn a policy on or off."""
        (self.names.add if is_on else self.names.discard)(name)


def nothing_to_lock() -> None:
    """For `policies_changing`, if nothing needs to be locked first."""


@contextmanager
def policies_changing(
    *,
    project: ProjectRef,
    cause: Cause,
    add: Collection[str] = (),
    remove: Collection[str] = (),
    lock_first: Callable[[], None] = nothing_to_lock,
) -> Iterator[Applied]:
    """One transaction that changes the settings of policies in a project, in the block, and turns policies on or off.

    Changes of one project run one after another, and not at the same time as what `current_policies` protects.
    `lock_first` locks content, which comes before the project in the order of locks. Not within another transaction.
    Raises NotFound if the project is deleted.
    """
    keys = policy_keys(project)
    with changing(*keys):
        lock_first()
        applied = _held(project)
        former = set(applied.names)
        applied.names |= set(add)
        applied.names -= set(remove)
        yield applied
        if applied.names != former:
            _apply(project, applied, cause)


def policy_keys(project: ProjectRef) -> list[str]:
    """The generations of which policies apply in a project and of their settings. Each event of a change of settings
    has them as `changed`."""
    return [project_key(project.id), name_key(project.name)]


def current_policies(repository: RepositoryRef) -> RepositoryRef:
    """The repository with the policies that apply now; they stay until the transaction ends. Called under the locks of
    what is about to be changed."""
    with statements() as cursor:
        cursor.execute(_LOCK_SHARED, lock_keys(repository.project))
        cursor.execute(_READ, [repository.project.id])
        return repository.governed_by(cursor.fetchall()[0][0])


def lock_keys(project: ProjectRef) -> tuple[int, int]:
    """The keys of the project's advisory lock."""
    low = project.id & 0xFFFFFFFF
    return LOCK_SPACE, low - (1 << 32) if low >> 31 else low


def _held(project: ProjectRef) -> Applied:
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_ALL, lock_keys(project))
        cursor.execute(_HOLD, [project.id])
        row = cursor.fetchone()
    if row is None:
        raise NotFound(f"there is no project {project.name}")
    return Applied(set(row[0]))


def _apply(project: ProjectRef, applied: Applied, cause: Cause) -> None:
    names = sorted(applied.names)
    with connection.cursor() as cursor:
        cursor.execute(_APPLY, [names, project.id])
    changed = ProjectPoliciesChanged(name=project.name, policies=names)
    emit(changed, cause=cause, project_id=project.id, changed=policy_keys(project))
