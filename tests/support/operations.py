"""The operations as tests call them: by the system or by somebody else, from an address."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from registry_core.access import CLIENT, SYSTEM, Cause, Subject
from registry_core.content.repositories import ProjectRef, RepositoryRef, ensure_repository, nothing_to_ask
from registry_core.names import RepositoryName

BY_SYSTEM: Final = Cause(SYSTEM, "192.0.2.1", CLIENT, "request-of-a-test")


def on_behalf_of(subject: Subject) -> Cause:
    """The cause of what a subject asks for."""
    return replace(BY_SYSTEM, subject=subject)


def make_repository(project: ProjectRef, name: RepositoryName) -> RepositoryRef:
    """The repository, made if need be."""
    return ensure_repository(project=project, name=name, cause=BY_SYSTEM, ask_for_content=nothing_to_ask)
