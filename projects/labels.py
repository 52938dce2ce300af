"""Labels: create, change and delete them, globally or in one project, and attach them to artifacts. Each function is
one transaction."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final

from django.db import IntegrityError
from django.db.models import Q
from django.db.models.functions import Now

from projects.artifact_lists import LABELS_KEY
from projects.models import ArtifactLabel, Label
from rbac.services.changes import rights_change
from registry_core.access import Subject
from registry_core.content.models import Artifact, Project
from registry_core.content.repositories import RepositoryRef
from registry_core.errors import AlreadyExists, InvalidInput, NotFound
from registry_core.names.readable import check_text

NAME_MAX: Final = 128
DESCRIPTION_MAX: Final = 1024
COLOR_MAX: Final = 64
"""The color is interpreted by clients and not written into any page, so any text is accepted."""


def create_label(*, project: Project | None, name: str, description: str, color: str, by: Subject) -> Label:
    """Create a label in a project or (None) a global one. Raises InvalidInput or AlreadyExists."""
    _check(name, description, color)
    label = Label(project=project, name=name, description=description, color=color)
    project_id = project.pk if project else None
    try:
        with rights_change(LABELS_KEY, kind="label.created", by=by, project_id=project_id, payload={"name": name}):
            label.save(force_insert=True)
    except IntegrityError:
        raise _taken(name) from None
    return label


def update_label(*, label: Label, name: str, description: str, color: str, by: Subject) -> None:
    """Change a label's name, description and color. Raises InvalidInput, AlreadyExists or NotFound."""
    _check(name, description, color)
    payload = {"label": label.pk, "name": name}
    try:
        with rights_change(LABELS_KEY, kind="label.updated", by=by, project_id=label.project_id, payload=payload):
            values = {"name": name, "description": description, "color": color, "updated_at": Now()}
            if not Label.objects.filter(pk=label.pk).update(**values):
                raise NotFound(f"there is no label {label.pk}")
    except IntegrityError:
        raise _taken(name) from None


def delete_label(*, label: Label, by: Subject) -> None:
    """Delete a label and remove it from all artifacts. Raises NotFound."""
    payload = {"label": label.pk, "name": label.name}
    with rights_change(LABELS_KEY, kind="label.deleted", by=by, project_id=label.project_id, payload=payload):
        ArtifactLabel.objects.filter(label_id=label.pk).delete()
        deleted, _ = Label.objects.filter(pk=label.pk).delete()
        if not deleted:
            raise NotFound(f"there is no label {label.pk}")


def add_label(*, repository: RepositoryRef, artifact: Artifact, label_id: int, by: Subject) -> None:
    """Attach a label to an artifact: a global one, or one of the same project.

    Raises NotFound, or AlreadyExists if the artifact already has it.
    """
    with _labelling(repository, artifact, label_id, "artifact.labelled", by):
        # Locked until the end of the transaction, so that the label is not deleted meanwhile.
        usable = Label.objects.select_for_update().filter(Q(project=None) | Q(project_id=repository.project.id))
        if not usable.filter(pk=label_id).exists():
            raise NotFound(f"there is no label {label_id} that artifacts of {repository.project.name} can have")
        if ArtifactLabel.objects.filter(artifact_id=artifact.pk, label_id=label_id).exists():
            raise AlreadyExists(f"the artifact already has the label {label_id}")
        ArtifactLabel.objects.create(artifact_id=artifact.pk, label_id=label_id)


def remove_label(*, repository: RepositoryRef, artifact: Artifact, label_id: int, by: Subject) -> None:
    """Remove a label from an artifact. Raises NotFound if it does not have the label."""
    with _labelling(repository, artifact, label_id, "artifact.unlabelled", by):
        removed, _ = ArtifactLabel.objects.filter(artifact_id=artifact.pk, label_id=label_id).delete()
        if not removed:
            raise NotFound(f"the artifact has no label {label_id}")


def _labelling(
    repository: RepositoryRef, artifact: Artifact, label_id: int, kind: str, by: Subject
) -> AbstractContextManager[None]:
    payload = {"artifact": artifact.pk, "label": label_id}
    return rights_change(repository.key, kind=kind, by=by, project_id=repository.project.id, payload=payload)


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
