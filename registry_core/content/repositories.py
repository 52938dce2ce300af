"""Projects and repositories as the operations see them: found by name, made by the first push."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, TypeVar

from django.db import OperationalError, transaction
from psycopg.errors import DeadlockDetected, SerializationFailure

from registry_core.access import Cause
from registry_core.content.models import Project, Repository
from registry_core.content.policies import policies
from registry_core.content.policy_contexts import CreateContext
from registry_core.database.statements import LOSABLE, statements
from registry_core.machine.state import generations
from registry_core.names import RepositoryName

P = ParamSpec("P")
T = TypeVar("T")
RETRIES = 4
CATALOG_KEY = "catalog"
"""The generation of which repositories there are, and which projects are public."""


NO_POLICIES: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class ProjectRef:
    """A living project. `has_limit`: whether it has a storage quota, as far as is known. `policies`: the names of the
    policies that apply in it."""

    id: int
    name: str
    is_public: bool
    allows_sparse_manifests: bool
    has_limit: bool = True
    policies: frozenset[str] = NO_POLICIES


PROJECT_COLUMNS: Final = """
    project.id, project.name, project.is_public, project.allows_sparse_manifests,
    project.storage_limit_bytes >= 0 AS has_limit, project.policies
"""
"""What `project_of` makes a project of."""


def project_of(row: Sequence[Any]) -> ProjectRef:
    """The project of a row of PROJECT_COLUMNS."""
    project_id, name, is_public, allows_sparse_manifests, has_limit, names = row
    applied = frozenset(names) if names else NO_POLICIES
    return ProjectRef(project_id, name, is_public, allows_sparse_manifests, has_limit, applied)


@dataclass(frozen=True, slots=True)
class RepositoryRef:
    """A living repository and its project."""

    id: int
    name: RepositoryName
    project: ProjectRef

    @property
    def key(self) -> str:
        """The key of its generation."""
        return repository_key(self.id)


def project_ref(project: Project) -> ProjectRef:
    """The project of a row."""
    return ProjectRef(
        project.pk,
        project.name,
        project.is_public,
        project.allows_sparse_manifests,
        has_limit=project.storage_limit_bytes >= 0,
        policies=frozenset(project.policies),
    )


def repository_of(row: Sequence[Any]) -> RepositoryRef:
    """The repository of a row of its id, its name and PROJECT_COLUMNS."""
    project = project_of(row[2:])
    return RepositoryRef(row[0], RepositoryName(project.name, row[1]), project)


def repository_ref(repository: Repository) -> RepositoryRef:
    """The repository of a row, with its project at hand."""
    name = RepositoryName(repository.project.name, repository.name)
    return RepositoryRef(repository.pk, name, project_ref(repository.project))


def repository_key(repository_id: int) -> str:
    """The generation of what a repository holds: tags, manifests, links."""
    return f"repository:{repository_id}"


def project_key(project_id: int) -> str:
    """The generation of what a project is, and of what anybody may do in it."""
    return f"project:{project_id}"


def name_key(name: str) -> str:
    """The generation of which project or repository a name means."""
    return f"name:{name}"


@contextmanager
def changing(*keys: str) -> Iterator[None]:
    """One transaction that changes what `keys` name: marked before its commit, bumped after it."""
    with generations().changing(keys), transaction.atomic():
        yield


def retried(operation: Callable[P, T]) -> Callable[P, T]:
    """Run a whole operation again when Postgres chose it as the victim of a deadlock or a serialization failure."""

    @functools.wraps(operation)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(RETRIES):
            try:
                return operation(*args, **kwargs)
            except OperationalError as error:
                if not isinstance(error.__cause__, DeadlockDetected | SerializationFailure):
                    raise
        return operation(*args, **kwargs)

    return call


@retried
def ensure_repository(
    *, project: ProjectRef, name: RepositoryName, cause: Cause, ask_for_content: Callable[[RepositoryRef], None]
) -> RepositoryRef:
    """The repository of that name in a living project, made when it is not there yet.

    Where a policy concerns the project, it is asked about the repository, and then `ask_for_content` is called to ask
    about what is about to come into it: when either is refused there is no repository. Raises Refused.

    A repository that has nothing in it yet may be lost with the machine's power: what comes into it takes it along to
    the disk. Not for within a larger transaction, all of which would not wait for the disk then.
    """
    with generations().changing([name_key(str(name)), CATALOG_KEY]):
        if not policies.is_concerned(project):
            return _ensure(project, name)[0]
        with transaction.atomic():
            repository, is_new = _ensure(project, name)
            if is_new:
                policies.ask(CreateContext(cause, repository))
                ask_for_content(repository)
            return repository


def nothing_to_ask(_repository: RepositoryRef) -> None:
    """For `ensure_repository`, of one into which nothing is about to come."""


def _ensure(project: ProjectRef, name: RepositoryName) -> tuple[RepositoryRef, bool]:
    """The repository, and whether this made it."""
    with statements() as cursor:
        cursor.execute(
            f"""
            INSERT INTO content_repository (project_id, name) SELECT %s, %s FROM {LOSABLE}
            ON CONFLICT (project_id, name) WHERE deleted_at IS NULL DO NOTHING RETURNING id
            """,  # noqa: S608 a constant
            [project.id, name.path],
        )
        row = cursor.fetchone()
        if row is not None:
            return RepositoryRef(row[0], name, project), True
        cursor.execute(
            "SELECT id FROM content_repository WHERE project_id = %s AND name = %s AND deleted_at IS NULL",
            [project.id, name.path],
        )
        return RepositoryRef(cursor.fetchall()[0][0], name, project), False
