"""The indexes of accessories, of manifests not described yet, and of icons."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("content", "0003_descriptions")]
    operations = [
        AddIndexConcurrently(
            "artifact",
            models.Index(
                fields=["repository", "accessory_of"],
                condition=models.Q(deleted_at=None, accessory_of__isnull=False),
                name="artifact_accessories",
            ),
        ),
        AddIndexConcurrently(
            "manifest", models.Index(fields=["id"], condition=models.Q(kind=""), name="manifest_undescribed")
        ),
        AddIndexConcurrently(
            "manifest", models.Index(fields=["icon"], condition=models.Q(icon__isnull=False), name="manifest_icon")
        ),
    ]
