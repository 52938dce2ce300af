"""Projects: create them, make them public or private, delete them. Each function is one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from projects import metadata
from projects.events import ProjectCreated, ProjectDeleted, ProjectRestored
from projects.models import ProjectSettings
from rbac.models import User
from rbac.services.changes import rights_change
from rbac.services.members import make_creator_admin
from rbac.services.permissions import has_system_permission, is_sysadmin
from rbac.services.users import first_administrator_id
from registry_core.access import Cause, Subject, SubjectKind
from registry_core.content.deletions import Kind as DeletionKind
from registry_core.content.deletions import begin_deletion, restorable
from registry_core.content.models import UNLIMITED, Deletion, Project, Repository
from registry_core.content.policies import policies
from registry_core.content.policy_contexts import DeletePlan
from registry_core.content.read_only import check_writable
from registry_core.content.repositories import CATALOG_KEY, name_key, project_key, project_ref
from registry_core.errors import AlreadyExists, InvalidInput, NotAllowed, NotFound, PreconditionFailed
from registry_core.events.outbox import emit
from registry_core.machine.state import generations
from registry_core.names import NAME_MAX, PROJECT_NAME
from registry_core.settings_store.values import current

STORAGE_MAX_BYTES = 1 << 60
ONLY_ADMINISTRATORS = "Only system admin can create project"
"""Verbatim, because clients of the REST API compare it."""


def create_project(
    *,
    name: str,
    is_public: bool,
    cause: Cause,
    storage_limit_bytes: int | None = None,
    values: Mapping[str, str] | None = None,
    cve_allowlist: dict[str, Any] | None = None,
) -> Project:
    """Create a project; a user who creates one becomes its projectAdmin.

    `storage_limit_bytes` -1: unlimited; None: as the settings say. `values` are its metadata. Raises InvalidInput,
    NotAllowed if the settings reserve creation for administrators, or AlreadyExists if a living project has the name.
    """
    _check_may_create(cause.subject)
    if len(name) > NAME_MAX or PROJECT_NAME.fullmatch(name) is None:
        raise InvalidInput("a project's name has lower-case letters, digits and single . _ or - between them")
    limit_bytes = default_storage_limit_bytes() if storage_limit_bytes is None else storage_limit_bytes
    check_storage_limit(limit_bytes)
    wanted = metadata.checked(values or {})
    wanted.pop(metadata.PUBLIC, None)
    project = Project(name=name, is_public=is_public, storage_limit_bytes=limit_bytes)
    changed = (name_key(name), CATALOG_KEY)
    try:
        with generations().changing(changed), transaction.atomic():
            project.save(force_insert=True)
            ProjectSettings.objects.create(
                project=project, owner_id=_owner_id(cause.subject), metadata=wanted, cve_allowlist=cve_allowlist
            )
            _make_creator_admin(project, cause)
            # The id is known only now; it puts the event into the project's own log.
            emit(ProjectCreated(name=name), cause=cause, project_id=project.pk, changed=changed)
    except IntegrityError:
        raise AlreadyExists(f"a project named {name} already exists: choose another name") from None
    return project


def _owner_id(by: Subject) -> int | None:
    """The owner of a project that the subject creates: the user itself; for a robot or the system the first
    administrator, if there is one."""
    return by.id if by.kind is SubjectKind.USER else first_administrator_id()


def default_storage_limit_bytes() -> int:
    """The storage limit of a project that is created without one: -1 is unlimited."""
    settings = current()
    return settings.number("storage_per_project") if settings.truth("quota_per_project_enable") else UNLIMITED


def check_storage_limit(limit_bytes: int) -> None:
    """Raises InvalidInput unless it is a number of bytes, or -1 for none."""
    if limit_bytes == 0 or not UNLIMITED <= limit_bytes <= STORAGE_MAX_BYTES:
        raise InvalidInput(f"a storage limit is a number of bytes from 1 to {STORAGE_MAX_BYTES}, or -1 for none")


def set_public(*, project: Project, is_public: bool, cause: Cause) -> None:
    """Make a project public or private."""
    metadata.change_metadata(project=project, values={metadata.PUBLIC: str(is_public).lower()}, cause=cause)


def why_not_deletable(project: Project) -> str:
    """The reason why a project cannot be deleted; empty if it can."""
    if Repository.objects.filter(project=project, deleted_at=None).exists():
        return "the project has repositories: delete them first"
    return ""


def delete_project(*, project: Project, cause: Cause) -> None:
    """Delete an empty project; its name becomes available and its memberships and permissions become void.

    Raises PreconditionFailed while it has repositories, NotFound if it is already deleted, or Refused by a policy.
    """
    keys = [project_key(project.pk), name_key(project.name), CATALOG_KEY]
    event = ProjectDeleted(name=project.name)
    with rights_change(event, *keys, cause=cause, project_id=project.pk):
        # Excludes pushes, which lock the row: a repository that is being created is either visible here or finds no
        # project.
        if not Project.objects.select_for_update().filter(pk=project.pk, deleted_at=None).exists():
            raise NotFound(f"there is no project {project.name}")
        if obstacle := why_not_deletable(project):
            raise PreconditionFailed(obstacle)
        policies.ask(DeletePlan(cause, project_ref(project), None, "project"))
        Project.objects.filter(pk=project.pk).update(deleted_at=Now())
        begin_deletion(
            project=project_ref(project), repository=None, kind=DeletionKind.PROJECT, name=project.name, cause=cause
        )


def restore_project(*, deletion_id: int, cause: Cause) -> Project:
    """Restore a deleted project with its settings, members and robot accounts. What had been deleted in it before can
    then be restored as well.

    Raises NotFound if the deletion has expired or was purged or restored, AlreadyExists if a project has its name, or
    Refused while the registry is read only.
    """
    check_writable()
    wanted = restorable().filter(pk=deletion_id, kind=DeletionKind.PROJECT).select_related("project").first()
    project = wanted.project if wanted else None
    if project is None:
        raise NotFound(
            f"the deletion {deletion_id} of a project cannot be restored: it has expired or is undone already"
        )
    keys = [project_key(project.pk), name_key(project.name), CATALOG_KEY]
    event = ProjectRestored(name=project.name, deletion=deletion_id)
    try:
        with rights_change(event, *keys, cause=cause, project_id=project.pk):
            if not restorable().select_for_update().filter(pk=deletion_id).exists():
                raise NotFound(f"the deletion {deletion_id} was purged or restored just now")
            Project.objects.filter(pk=project.pk).update(deleted_at=None)
            Deletion.objects.filter(pk=deletion_id).delete()
    except IntegrityError:
        raise AlreadyExists(f"there is a project {project.name} again: delete it first") from None
    return Project.objects.get(pk=project.pk)


def _check_may_create(by: Subject) -> None:
    """Robots need the permission; for people the setting `project_creation_restriction` decides."""
    if by.kind is SubjectKind.ROBOT:
        is_allowed = has_system_permission(subject=by, resource="project", action="create")
    else:
        is_restricted = current().text("project_creation_restriction") != "everyone"
        is_allowed = by.kind is SubjectKind.SYSTEM or not is_restricted or is_sysadmin(by)
    if not is_allowed:
        raise NotAllowed(ONLY_ADMINISTRATORS)


def _make_creator_admin(project: Project, cause: Cause) -> None:
    if cause.subject.kind is SubjectKind.USER:
        make_creator_admin(project=project, user=User.objects.get(pk=cause.subject.id), cause=cause)
