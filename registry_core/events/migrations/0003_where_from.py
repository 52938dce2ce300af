"""Who caused an event from where, by which request, and how it ended. Releases that do not know the columns leave their
defaults."""

from django.db import migrations

COLUMNS = """
ALTER TABLE events_event
    ADD COLUMN IF NOT EXISTS client text NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS request_id text NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS result text NOT NULL DEFAULT 'success';
"""


class Migration(migrations.Migration):
    dependencies = [("events", "0002_partitioned")]
    operations = [migrations.RunSQL(COLUMNS, migrations.RunSQL.noop)]
