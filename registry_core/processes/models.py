"""The running processes of an installation, by machine, with fingerprints of its keys."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Heartbeat(models.Model):
    """The processes of one role on a machine, last seen at `seen_at`. One row per machine and role.

    `facts`: fingerprints of the machine's keys, by the name of the file; see `registry_core.processes.keys`.
    """

    pk = models.CompositePrimaryKey("machine", "role")
    machine = models.CharField(max_length=64)
    role = models.CharField(max_length=16)
    host = models.CharField(max_length=255, help_text="the name of the machine, for people")
    version = models.CharField(max_length=64)
    facts = models.JSONField(default=dict)
    seen_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.role} on {self.host}"
