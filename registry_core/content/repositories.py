"""Projects and repositories as operations see them: found by name, created by the first push."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
"""The generation of the set of repositories, and of which projects are public."""


NO_POLICIES: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class ProjectRef:
    """A living project. `has_limit`: whether it has a storage quota, possibly as cached. `policies`: the names of the
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
"""The columns for `project_of`."""


def project_of(row: Sequence[Any]) -> ProjectRef:
    """The project from a row of PROJECT_COLUMNS."""
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

    def governed_by(self, policies: Iterable[str]) -> RepositoryRef:
        """The repository of a project in which the policies of these names apply."""
        applied = frozenset(policies)
        return (
            self if applied == self.project.policies else replace(self, project=replace(self.project, policies=applied))
        )


def project_ref(project: Project) -> ProjectRef:
    """The project from a model row."""
    return ProjectRef(
        project.pk,
        project.name,
        project.is_public,
        project.allows_sparse_manifests,
        has_limit=project.storage_limit_bytes >= 0,
        policies=frozenset(project.policies),
    )


def repository_of(row: Sequence[Any]) -> RepositoryRef:
    """The repository from a row of its id, its name and PROJECT_COLUMNS."""
    project = project_of(row[2:])
    return RepositoryRef(row[0], RepositoryName(project.name, row[1]), project)


def repository_ref(repository: Repository) -> RepositoryRef:
    """The repository from a model row, whose project is loaded."""
    name = RepositoryName(repository.project.name, repository.name)
    return RepositoryRef(repository.pk, name, project_ref(repository.project))


def repository_key(repository_id: int) -> str:
    """The generation of a repository's content: tags, manifests, links."""
    return f"repository:{repository_id}"


def project_key(project_id: int) -> str:
    """The generation of a project's properties, and of what everybody may do in it."""
    return f"project:{project_id}"


def name_key(name: str) -> str:
    """The generation of which project or repository a name refers to."""
    return f"name:{name}"


@contextmanager
def changing(*keys: str) -> Iterator[None]:
    """One transaction that changes what `keys` name: marked before its commit, bumped after it."""
    with generations().changing(keys), transaction.atomic():
        yield


def retried(operation: Callable[P, T]) -> Callable[P, T]:
    """Repeat a whole operation if Postgres chose it as the victim of a deadlock or a serialization failure."""

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
    """The repository with that name in a living project, created if necessary.

    If a policy concerns the project, it is asked about the repository, and then `ask_for_content` is called to ask
    about the content that is about to be stored in it: if either is refused, no repository is created. Raises Refused.

    An empty repository may be lost in a power cut: the first content that is stored in it makes it durable. Not within
    a larger transaction, whose commit would not wait for the disk either.
    """
    with generations().changing([name_key(str(name)), CATALOG_KEY]):
        if not policies.concerned_with_new_repositories(project):
            return _ensure(project, name)[0]
        with transaction.atomic():
            repository, is_new = _ensure(project, name)
            if is_new:
                policies.ask(CreateContext(cause, repository))
                ask_for_content(repository)
            return repository


def nothing_to_ask(_repository: RepositoryRef) -> None:
    """For `ensure_repository`, if no content is about to be stored."""


def _ensure(project: ProjectRef, name: RepositoryName) -> tuple[RepositoryRef, bool]:
    """The repository, and whether this call created it."""
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
