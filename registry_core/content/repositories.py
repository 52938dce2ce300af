"""Projects and repositories as the operations see them: found by name, made by the first push."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from django.db import OperationalError, transaction
from psycopg.errors import DeadlockDetected, SerializationFailure

from registry_core.database.statements import LOSABLE, statements
from registry_core.machine.state import generations
from registry_core.names import RepositoryName

P = ParamSpec("P")
T = TypeVar("T")
RETRIES = 4
CATALOG_KEY = "catalog"
"""The generation of which repositories there are, and which projects are public."""


@dataclass(frozen=True, slots=True)
class ProjectRef:
    """A living project. `has_limit`: whether it has a storage quota, as far as is known."""

    id: int
    name: str
    is_public: bool
    allows_sparse_manifests: bool
    has_limit: bool = True


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


def repository_key(repository_id: int) -> str:
    """The generation of what a repository holds: tags, manifests, links."""
    return f"repository:{repository_id}"


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
def ensure_repository(*, project: ProjectRef, name: RepositoryName) -> RepositoryRef:
    """The repository of that name in a living project, made when it is not there yet.

    One that has nothing in it yet may be lost with the machine's power: what comes into it takes it along to the disk.
    Not for within a larger transaction, all of which would not wait for the disk then.
    """
    with generations().changing([name_key(str(name)), CATALOG_KEY]), statements() as cursor:
        cursor.execute(
            f"""
            INSERT INTO content_repository (project_id, name) SELECT %s, %s FROM {LOSABLE}
            ON CONFLICT (project_id, name) WHERE deleted_at IS NULL DO NOTHING RETURNING id
            """,  # noqa: S608 a constant
            [project.id, name.path],
        )
        row = cursor.fetchone()
        if row is None:
            cursor.execute(
                "SELECT id FROM content_repository WHERE project_id = %s AND name = %s AND deleted_at IS NULL",
                [project.id, name.path],
            )
            row = cursor.fetchall()[0]
    return RepositoryRef(row[0], name, project)
