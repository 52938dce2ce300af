"""When a repository was last changed, in its row, so that lists can be sorted by it."""

from django.db import migrations, models
from django.db.models.functions import Now

KNOWN = """
    UPDATE content_repository AS repository SET changed_at = greatest(updated_at, (
        SELECT pushed_at FROM content_artifact AS artifact
        WHERE artifact.repository_id = repository.id AND artifact.deleted_at IS NULL ORDER BY artifact.id DESC LIMIT 1
    ))
"""
ALL_DEALT_WITH = """
    INSERT INTO events_cursor (name, seq) SELECT 'push times', seq FROM events_cursor WHERE name = 'relay'
    ON CONFLICT DO NOTHING
"""


class Migration(migrations.Migration):
    dependencies = [("content", "0006_name_search"), ("events", "0002_partitioned")]
    operations = [
        migrations.AddField(
            "repository",
            "changed_at",
            models.DateTimeField(db_default=Now(), help_text="the last push or description, a little behind"),
        ),
        migrations.RunSQL(KNOWN, ""),
        migrations.RunSQL(ALL_DEALT_WITH, ""),
        migrations.AddIndex(
            "repository",
            models.Index(
                fields=["-changed_at", "-id"], condition=models.Q(deleted_at=None), name="repository_last_changed"
            ),
        ),
    ]
