"""The color of a label is any text: clients write `false`, names, and `rgb(…)`. Widening a column rewrites no row."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("projects", "0011_audit_log_of_content")]

    operations = [
        migrations.AlterField("label", "color", models.CharField(blank=True, default="", max_length=64)),
    ]
