"""What lists show of manifests, repositories and accessories, in columns of its own."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("content", "0002_partitioned"),
    ]

    operations = [
        migrations.AddField(
            model_name="artifact",
            name="accessory_kind",
            field=models.PositiveSmallIntegerField(
                blank=True,
                choices=[
                    (1, "signature.cosign"),
                    (2, "signature.notation"),
                    (3, "sbom.harbor"),
                    (4, "accelerator.nydus"),
                    (5, "subject.accessory"),
                ],
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="artifact",
            name="accessory_of",
            field=models.BinaryField(blank=True, max_length=65, null=True),
        ),
        migrations.AddField(
            model_name="manifest",
            name="config_type",
            field=models.CharField(blank=True, db_default="", max_length=255),
        ),
        migrations.AddField(
            model_name="manifest",
            name="extra_attrs",
            field=models.BinaryField(help_text="JSON as bytes, as the annotations", null=True),
        ),
        migrations.AddField(
            model_name="manifest",
            name="icon",
            field=models.BinaryField(max_length=65, null=True),
        ),
        migrations.AddField(
            model_name="manifest",
            name="kind",
            field=models.CharField(blank=True, db_default="", max_length=255),
        ),
        migrations.AddField(
            model_name="repository",
            name="description",
            field=models.TextField(blank=True, db_default=""),
        ),
        migrations.AddField(
            model_name="repository",
            name="pull_count",
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name="repository",
            name="updated_at",
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
        ),
    ]
