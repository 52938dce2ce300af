"""Projects: create them, open and close them. Each function is one transaction."""

from __future__ import annotations

from django.db import IntegrityError

from rbac.errors import AlreadyExists, InvalidInput
from rbac.models import Role, User
from rbac.services.changes import project_key, rights_change
from rbac.services.members import add_member
from registry_core.access import Subject, SubjectKind
from registry_core.content.models import UNLIMITED, Project
from registry_core.names import NAME_MAX, PROJECT_NAME


def create_project(*, name: str, is_public: bool, by: Subject, storage_limit_bytes: int = UNLIMITED) -> Project:
    """Create a project; a user who does becomes its projectAdmin. `storage_limit_bytes` -1: unlimited.

    Raises InvalidInput, or AlreadyExists when a living project has the name.
    """
    if len(name) > NAME_MAX or PROJECT_NAME.fullmatch(name) is None:
        raise InvalidInput("a project's name has lower-case letters, digits and single . _ or - between them")
    if storage_limit_bytes < UNLIMITED:
        raise InvalidInput("a storage limit is a number of bytes, or -1 for none")
    project = Project(name=name, is_public=is_public, storage_limit_bytes=storage_limit_bytes)
    try:
        with rights_change(kind="project.created", by=by, payload={"name": name}):
            project.save(force_insert=True)
            _make_creator_admin(project, by)
    except IntegrityError:
        raise AlreadyExists(f"a project named {name} exists already: choose another name") from None
    return project


def set_public(*, project: Project, is_public: bool, by: Subject) -> None:
    """Let everyone pull from a project, or members only."""
    payload = {"name": project.name, "is_public": is_public}
    key = project_key(project.pk)
    with rights_change(key, kind="project.updated", by=by, project_id=project.pk, payload=payload):
        Project.objects.filter(pk=project.pk).update(is_public=is_public)
    project.refresh_from_db()


def _make_creator_admin(project: Project, by: Subject) -> None:
    if by.kind is SubjectKind.USER:
        add_member(project=project, role=Role.PROJECT_ADMIN, by=by, user=User.objects.get(pk=by.id))
