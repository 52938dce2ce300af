"""What is stored of the audit log."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class AuditEntry(models.Model):
    """One thing that somebody did. Append only; partitioned by month. Names are kept as they were then.

    `event_id` is the event it was made from: the same event makes one entry, however often it is read.
    """

    id = models.BigAutoField(primary_key=True)
    event_id = models.BigIntegerField()
    project_id = models.BigIntegerField(null=True)
    operation = models.CharField(max_length=32)
    resource_type = models.CharField(max_length=64)
    resource = models.TextField()
    username = models.CharField(max_length=600)
    is_success = models.BooleanField(default=True)
    description = models.TextField(default="")
    op_time = models.DateTimeField(db_default=Now())

    objects: ClassVar[models.Manager[AuditEntry]] = models.Manager()

    class Meta:
        managed = False
        db_table = "projects_auditentry"

    def __str__(self) -> str:
        return f"{self.username} {self.operation} {self.resource_type} {self.resource}"
