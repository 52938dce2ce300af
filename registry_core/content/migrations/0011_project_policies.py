"""Which policies apply in a project, in its row: every request that policies could concern has that at hand."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("content", "0010_accessories_by_tag")]
    operations = [
        migrations.AddField(
            "project",
            "policies",
            django.contrib.postgres.fields.ArrayField(
                models.TextField(),
                default=list,
                db_default=models.Value([]),
                help_text="the names of those that apply",
            ),
        ),
    ]
