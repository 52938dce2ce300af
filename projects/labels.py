"""Labels: create, change and delete them, globally or in one project, and attach them to artifacts. Each function is
one transaction."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final

from django.db import IntegrityError
from django.db.models import Q
from django.db.models.functions import Now

from projects.artifact_lists import LABELS_KEY
from projects.events import (
    ArtifactLabelled,
    ArtifactUnlabelled,
    LabelCreated,
    LabelDeleted,
    Labelling,
    LabelUpdated,
)
from projects.models import ArtifactLabel, Label
from rbac.services.changes import rights_change
from registry_core.access import Cause
from registry_core.content.models import Artifact, Project
from registry_core.content.repositories import RepositoryRef
from registry_core.errors import AlreadyExists, InvalidInput, NotFound
from registry_core.names.readable import check_text

NAME_MAX: Final = 128
DESCRIPTION_MAX: Final = 1024
COLOR_MAX: Final = 64
"""The color is interpreted by clients and not written into any page, so any text is accepted."""


def create_label(*, project: Project | None, name: str, description: str, color: str, cause: Cause) -> Label:
    """Create a label in a project or (None) a global one. Raises InvalidInput or AlreadyExists."""
    _check(name, description, color)
    label = Label(project=project, name=name, description=description, color=color)
    project_id = project.pk if project else None
    try:
        with rights_change(
            lambda: LabelCreated(label=label.pk, name=name), LABELS_KEY, cause=cause, project_id=project_id
        ):
            label.save(force_insert=True)
    except IntegrityError:
        raise _taken(name) from None
    return label


def update_label(*, label: Label, name: str, description: str, color: str, cause: Cause) -> None:
    """Change a label's name, description and color. Raises InvalidInput, AlreadyExists or NotFound."""
    _check(name, description, color)
    try:
        event = LabelUpdated(label=label.pk, name=name)
        with rights_change(event, LABELS_KEY, cause=cause, project_id=label.project_id):
            values = {"name": name, "description": description, "color": color, "updated_at": Now()}
            if not Label.objects.filter(pk=label.pk).update(**values):
                raise NotFound(f"there is no label {label.pk}")
    except IntegrityError:
        raise _taken(name) from None


def delete_label(*, label: Label, cause: Cause) -> None:
    """Delete a label and remove it from all artifacts. Raises NotFound."""
    event = LabelDeleted(label=label.pk, name=label.name)
    with rights_change(event, LABELS_KEY, cause=cause, project_id=label.project_id):
        ArtifactLabel.objects.filter(label_id=label.pk).delete()
        deleted, _ = Label.objects.filter(pk=label.pk).delete()
        if not deleted:
            raise NotFound(f"there is no label {label.pk}")


def add_label(*, repository: RepositoryRef, artifact: Artifact, label_id: int, cause: Cause) -> None:
    """Attach a label to an artifact: a global one, or one of the same project.

    Raises NotFound, or AlreadyExists if the artifact already has it.
    """
    with _labelling(repository, artifact, label_id, ArtifactLabelled, cause):
        # Locked until the end of the transaction, so that the label is not deleted meanwhile.
        usable = Label.objects.select_for_update().filter(Q(project=None) | Q(project_id=repository.project.id))
        if not usable.filter(pk=label_id).exists():
            raise NotFound(f"there is no label {label_id} that artifacts of {repository.project.name} can have")
        if ArtifactLabel.objects.filter(artifact_id=artifact.pk, label_id=label_id).exists():
            raise AlreadyExists(f"the artifact already has the label {label_id}")
        ArtifactLabel.objects.create(artifact_id=artifact.pk, label_id=label_id)


def remove_label(*, repository: RepositoryRef, artifact: Artifact, label_id: int, cause: Cause) -> None:
    """Remove a label from an artifact. Raises NotFound if it does not have the label."""
    with _labelling(repository, artifact, label_id, ArtifactUnlabelled, cause):
        removed, _ = ArtifactLabel.objects.filter(artifact_id=artifact.pk, label_id=label_id).delete()
        if not removed:
            raise NotFound(f"the artifact has no label {label_id}")


def _labelling(
    repository: RepositoryRef, artifact: Artifact, label_id: int, happened: type[Labelling], cause: Cause
) -> AbstractContextManager[None]:
    event = happened(artifact=artifact.pk, label=label_id)
    return rights_change(event, repository.key, cause=cause, project_id=repository.project.id)


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(f"a label named {name} already exists: choose another name")


def _check(name: str, description: str, color: str) -> None:
    if not 1 <= len(name) <= NAME_MAX or "\x00" in name:
        raise InvalidInput(f"a label's name has 1 to {NAME_MAX} characters")
    check_text(name, what="a label's name")
    if len(description) > DESCRIPTION_MAX or "\x00" in description:
        raise InvalidInput(f"a label's description has at most {DESCRIPTION_MAX} characters")
    if len(color) > COLOR_MAX or "\x00" in color:
        raise InvalidInput(f"a label's color has at most {COLOR_MAX} characters")
