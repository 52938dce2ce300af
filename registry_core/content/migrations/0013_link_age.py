"""Finds the links that were created since the last look at them, for pages in which all are older."""

from django.contrib.postgres.indexes import BrinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("content", "0012_garbage")]
    operations = [
        AddIndexConcurrently(
            "repositoryblob", BrinIndex(fields=["created_at"], autosummarize=True, name="repositoryblob_created")
        ),
    ]
