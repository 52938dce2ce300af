"""What is stored about projects besides their content: owner, settings by name, and labels."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from projects.audit.models import AuditEntry

__all__ = ["AuditEntry", "ProjectSettings"]


class ProjectSettings(models.Model):
    """A project's owner and metadata, of which only values that were set are stored. Without a row everything is
    default."""

    project = models.OneToOneField("content.Project", models.CASCADE, primary_key=True, related_name="settings")
    owner = models.ForeignKey("rbac.User", models.SET_NULL, null=True, blank=True, related_name="+")
    metadata = models.JSONField(default=dict)
    cve_allowlist = models.JSONField(null=True, blank=True)
    updated_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"settings of project {self.project_id}"


class Label(models.Model):
    """A name with a colour to attach to artifacts: global (without a project), or of one project."""

    project = models.ForeignKey(
        "content.Project", models.CASCADE, null=True, blank=True, db_index=False, related_name="+"
    )
    name = models.CharField(max_length=128)
    description = models.TextField(blank=True, default="")
    color = models.CharField(max_length=64, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="label_name_in_project"),
            models.UniqueConstraint(fields=["name"], condition=Q(project=None), name="label_name_global"),
        ]

    def __str__(self) -> str:
        return self.name


class ImmutabilityRule(models.Model):
    """Tags that can be neither moved nor deleted: those that its selectors select, unless it is disabled.

    The selectors are stored as `projects.selectors` loads them.
    """

    project = models.ForeignKey("content.Project", models.CASCADE, related_name="+")
    is_disabled = models.BooleanField(default=False)
    priority = models.IntegerField(default=0, help_text="only shown: the order of rules does not matter")
    tag_selectors = models.JSONField()
    repository_selectors = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"immutability rule {self.pk}"


class Hold(models.Model):
    """A legal hold: the artifact cannot be deleted, nor lose a tag, until the hold is released.

    `project_id` and `repository_id` are those of the artifact, without constraints: checking them would lock both rows
    behind the artifact.
    """

    artifact = models.OneToOneField("content.Artifact", models.PROTECT, primary_key=True, related_name="+")
    project = models.ForeignKey("content.Project", models.DO_NOTHING, db_constraint=False, related_name="+")
    repository = models.ForeignKey("content.Repository", models.DO_NOTHING, db_constraint=False, related_name="+")
    reason = models.TextField()
    subject_kind = models.PositiveSmallIntegerField()
    subject_id = models.BigIntegerField()
    subject_name = models.CharField(max_length=255, help_text="of who set it, at the time")
    set_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"hold of artifact {self.artifact_id}"


class RetentionPolicy(models.Model):
    """Which artifacts of a project stay: the rules, as `projects.retention.rules` loads them. Its schedule is that of
    the job RETENTION with its id."""

    project = models.OneToOneField("content.Project", models.CASCADE, related_name="+")
    rules = models.JSONField(default=list)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"retention policy {self.pk}"


class ArtifactLabel(models.Model):
    """A label on an artifact. It is kept while the artifact is a tombstone, so that restoring the artifact restores
    it."""

    pk = models.CompositePrimaryKey("artifact_id", "label_id")
    artifact = models.ForeignKey("content.Artifact", models.CASCADE, db_index=False, related_name="label_links")
    label = models.ForeignKey(Label, models.CASCADE, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"label {self.label_id} on artifact {self.artifact_id}"
