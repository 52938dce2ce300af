"""The first start: the public project `library`."""

from __future__ import annotations

from typing import Final

from projects.services import create_project
from registry_core.access import of_system
from registry_core.content.models import Project
from registry_core.errors import AlreadyExists

LIBRARY: Final = "library"


def ensure_library() -> None:
    """Create the public project `library`, once: it is not created again after it was deleted."""
    if Project.objects.filter(name=LIBRARY).exists():
        return
    try:
        create_project(name=LIBRARY, is_public=True, cause=of_system("first-start"))
    except AlreadyExists:
        return  # another process created it first
