"""What is stored about projects besides their content: who owns them, and their settings by name."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from projects.audit.models import AuditEntry

__all__ = ["AuditEntry", "ProjectSettings"]


class ProjectSettings(models.Model):
    """A project's owner and its metadata: strings by name, those alone that were set. Without a row all is default."""

    project = models.OneToOneField("content.Project", models.CASCADE, primary_key=True, related_name="settings")
    owner = models.ForeignKey("rbac.User", models.SET_NULL, null=True, blank=True, related_name="+")
    metadata = models.JSONField(default=dict)
    cve_allowlist = models.JSONField(null=True, blank=True)
    updated_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"settings of project {self.project_id}"
