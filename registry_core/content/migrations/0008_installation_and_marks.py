"""Which installation the database belongs to, and the marks that it shares with its stores."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("content", "0007_repository_changed_at"),
    ]

    operations = [
        migrations.CreateModel(
            name="StoreMark",
            fields=[
                ("store", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("count", models.BigIntegerField(db_default=0)),
                (
                    "token",
                    models.CharField(blank=True, db_default="", help_text="random, of this mark alone", max_length=32),
                ),
                (
                    "previous",
                    models.CharField(
                        blank=True, db_default="", help_text="the token of the mark before", max_length=32
                    ),
                ),
                (
                    "newest_blob",
                    models.BigIntegerField(db_default=0, help_text="the largest id of a blob when it was given"),
                ),
                ("marked_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("stopped", models.TextField(blank=True, db_default="", help_text="why the last sweep was refused")),
            ],
        ),
        migrations.CreateModel(
            name="Installation",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("name", models.CharField(help_text="random; nobody chooses it", max_length=32)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=models.Q(("id", 1)), name="installation_one_row")],
            },
        ),
    ]
