"""Base of the views of content in a project: resolves the repository and the artifact of a URL, using caches.

Names are cached as on the data path, so that a page spends its statements on its rows.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final
from urllib.parse import unquote

from registry_core.api.base import ApiView, find_project
from registry_core.caching.shared import Memory
from registry_core.content.models import Artifact, Project, Repository
from registry_core.content.repositories import RepositoryRef, name_key, repository_ref
from registry_core.digests import Digest
from registry_core.errors import NotFound
from registry_core.names import parse_reference

_projects: Memory[Project | None] = Memory("projects")
_absent: Memory[bool] = Memory("absent project names")
_repositories: Memory[RepositoryRef] = Memory("repositories")
NAMED_BYTES: Final = 1536  # a project or repository with the longest name, and its key
FALSE: Final = frozenset({"", "false", "0"})


class ContentView(ApiView):
    """A resource below `/projects/{project_name}`."""

    @cached_property
    def found_project(self) -> Project | None:
        """The living project of that name; None when there is none."""
        name = self.named_project
        known = _projects.get(name)
        if known is not None or _absent.get(name):
            return known
        found = find_project(name, is_name=True)
        if found is None:
            _absent.fill(name, lambda: find_project(name, is_name=True) is None, depends_on=[name_key(name)])
            return None
        # The project's generation is known only after the read, so read again under it.
        return _projects.fill(
            name,
            lambda: find_project(name, is_name=True),
            depends_on=[name_key(name), f"project:{found.pk}"],
            size_bytes=NAMED_BYTES,
        )

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
        name = self.decoded_repository_name
        project = self.project
        return _repositories.recall(
            (project.pk, name),
            lambda: repository_ref(self.repository),
            depends_on=[name_key(f"{project.name}/{name}"), f"project:{project.pk}"],
            size_bytes=NAMED_BYTES,
        )


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
