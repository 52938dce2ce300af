"""Garbage collection: its queue, the objects that are being deleted, what was measured, and what a deletion was of."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("content", "0011_project_policies"),
    ]
    operations = [
        migrations.CreateModel(
            name="DoomedObject",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("blob_id", models.BigIntegerField()),
                ("store", models.CharField(max_length=32)),
                ("storage_key", models.CharField(max_length=255)),
                ("size_bytes", models.BigIntegerField()),
                ("attempts", models.IntegerField(db_default=0)),
                ("failure", models.TextField(blank=True, db_default="")),
                ("doomed_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name="Garbage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.PositiveSmallIntegerField(
                        choices=[(1, "Link"), (2, "Blob"), (3, "Manifest"), (4, "Repository"), (5, "Project")]
                    ),
                ),
                ("repository_id", models.BigIntegerField(db_default=0)),
                ("target_id", models.BigIntegerField()),
                ("due_at", models.DateTimeField()),
                ("queued_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name="StoreMeasure",
            fields=[
                ("store", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("object_count", models.BigIntegerField()),
                ("object_bytes", models.BigIntegerField()),
                (
                    "unfinished_bytes",
                    models.BigIntegerField(help_text="of these objects, those of uploads in progress"),
                ),
                ("unnamed_objects", models.BigIntegerField()),
                ("unnamed_bytes", models.BigIntegerField()),
                ("missing_objects", models.BigIntegerField()),
                ("missing_bytes", models.BigIntegerField()),
                ("measured_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.AddField(
            model_name="deletion",
            name="is_purging",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="deletion",
            name="kind",
            field=models.PositiveSmallIntegerField(
                choices=[(0, "unknown"), (1, "tag"), (2, "artifact"), (3, "repository"), (4, "project")],
                db_default=0,
                default=0,
            ),
        ),
        migrations.AddField(
            model_name="deletion",
            name="name",
            field=models.CharField(blank=True, db_default="", max_length=512),
        ),
        migrations.AddField(
            model_name="deletion",
            name="project",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="content.project"
            ),
        ),
        migrations.AddField(
            model_name="deletion",
            name="subject_name",
            field=models.CharField(blank=True, db_default="", max_length=255),
        ),
        migrations.AlterField(
            model_name="deletion",
            name="repository",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="content.repository"
            ),
        ),
        migrations.AddConstraint(
            model_name="doomedobject",
            constraint=models.UniqueConstraint(fields=("store", "storage_key"), name="doomedobject_storage_key"),
        ),
        migrations.AddIndex(
            model_name="garbage",
            index=models.Index(fields=["kind", "id"], name="garbage_by_kind"),
        ),
        migrations.AddConstraint(
            model_name="garbage",
            constraint=models.UniqueConstraint(fields=("kind", "repository_id", "target_id"), name="garbage_once"),
        ),
    ]
