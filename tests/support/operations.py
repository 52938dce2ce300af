"""The operations on content as tests call them: by the system, from an address."""

from __future__ import annotations

from typing import Final

from registry_core.access import CLIENT, SYSTEM, Cause
from registry_core.content.repositories import ProjectRef, RepositoryRef, ensure_repository, nothing_to_ask
from registry_core.names import RepositoryName

BY_SYSTEM: Final = Cause(SYSTEM, "192.0.2.1", CLIENT, "request-of-a-test")


def make_repository(project: ProjectRef, name: RepositoryName) -> RepositoryRef:
    """The repository, made if need be."""
    return ensure_repository(project=project, name=name, cause=BY_SYSTEM, ask_for_content=nothing_to_ask)
