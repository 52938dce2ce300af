"""Base of the views of content in a project: resolves the repository and the artifact of a URL, using caches.

Names are cached as on the data path, so that a page spends its statements on its rows.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final
from urllib.parse import unquote

from registry_core.access import NO_ACTIONS
from registry_core.api.base import ApiView, find_project
from registry_core.caching.cache import Cache
from registry_core.content.models import Artifact, Project, Repository
from registry_core.content.repositories import RepositoryRef, name_key, project_key, repository_ref
from registry_core.digests import Digest
from registry_core.distribution.guards import absence_cache, name_cache
from registry_core.distribution.reads import Located
from registry_core.errors import NotFound
from registry_core.names import parse_reference

_project_cache: Cache[Project] = Cache("projects", share=1 / 64)
PROJECT_BYTES: Final = 1536  # a project with the longest name, and its key
FALSE: Final = frozenset({"", "false", "0"})


class ContentView(ApiView):
    """A resource below `/projects/{project_name}`."""

    @cached_property
    def found_project(self) -> Project | None:
        """The living project of that name; None when there is none."""
        name = self.named_project
        cached = _project_cache.get(name)
        if cached is not None or absence_cache.get(name) is not None:
            return cached
        return _read_project(name)

    @property
    def decoded_repository_name(self) -> str:
        """The repository's name without its project, decoded from the URL."""
        return unquote(str(self.kwargs["repository_name"]))

    @cached_property
    def repository(self) -> Repository:
        """The repository of the URL, within its project. Raises NotFound."""
        name = self.decoded_repository_name
        living = Repository.objects.filter(project=self.project, deleted_at=None)
        found = living.filter(name=name).first() if "\x00" not in name else None
        if found is None:
            raise NotFound(f"there is no repository {self.project.name}/{name}")
        found.project = self.project
        return found

    @property
    def repository_ref(self) -> RepositoryRef:
        """The repository of the URL. Raises NotFound."""
        project = self.project
        name = f"{project.name}/{self.decoded_repository_name}"
        located = name_cache.read_through(name, self._locate, depends_on=[name_key(name), name_key(project.name)])
        if located.repository is None or located.repository.project.id != project.pk:
            raise NotFound(f"there is no repository {name}")
        return located.repository

    def _locate(self) -> Located:
        """The repository with its project, both read now: what was found before may be older than the generations."""
        name = self.decoded_repository_name
        living = Repository.objects.filter(project=self.project, project__deleted_at=None, deleted_at=None)
        found = living.select_related("project").filter(name=name).first() if "\x00" not in name else None
        if found is None:
            raise NotFound(f"there is no repository {self.project.name}/{name}")
        repository = repository_ref(found)
        return Located(repository.project, repository, found.created_at)


def _read_project(name: str) -> Project | None:
    """Read the project, and cache it or that there is none.

    Which generation it has is known only after the read, so it is read again under that. An absent one is also read
    twice, so that the time does not reveal which projects exist.
    """
    first = find_project(name, is_name=True)
    seen = _project_cache.begin([name_key(name), *([project_key(first.pk)] if first else [])])
    found = find_project(name, is_name=True)
    if found is None:
        absence_cache.put(name, NO_ACTIONS, seen=seen, size_bytes=512 + 4 * len(name))
    elif first is not None and first.pk == found.pk:
        _project_cache.put(name, found, seen=seen, size_bytes=PROJECT_BYTES)
    return found


class ArtifactView(ContentView):
    """A resource below `…/artifacts/{reference}`."""

    @property
    def reference(self) -> str:
        """The tag or digest of the URL."""
        return unquote(str(self.kwargs["reference"]))

    @cached_property
    def artifact(self) -> Artifact:
        """The artifact that the tag or digest of the URL refers to. Raises NotFound, DigestError or InvalidName."""
        return find_artifact(self.repository_ref, self.reference)

    @property
    def digest(self) -> Digest:
        """The digest of the artifact. Raises as `artifact` does."""
        return Digest(bytes(self.artifact.digest))


def find_artifact(repository: RepositoryRef, reference: str) -> Artifact:
    """The artifact that a tag or digest refers to. Raises NotFound, DigestError or InvalidName."""
    wanted = parse_reference(reference)
    condition: dict[str, Any] = {"tags__name": wanted, "tags__deleted_at": None, "tags__repository_id": repository.id}
    if isinstance(wanted, Digest):
        condition = {"digest": wanted.raw}
    rows = Artifact.objects.filter(repository_id=repository.id, deleted_at=None, **condition)
    found = rows.select_related("manifest").first()
    if found is None:
        raise NotFound(f"there is no artifact {reference} in {repository.name}")
    return found


def is_asked(value: str | None, *, default: bool = False) -> bool:
    """The boolean value of a `with_…` parameter."""
    return default if value is None else value.lower() not in FALSE
