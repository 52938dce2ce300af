"""Stored settings: only those that were changed."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class StoredSetting(models.Model):
    """A setting that was changed from its default at some time. A secret's value is encrypted text."""

    key = models.CharField(max_length=64, primary_key=True)
    value = models.JSONField()
    updated_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.key
