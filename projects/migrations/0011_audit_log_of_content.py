"""An index of the entries that the older view of the audit log shows, so that its pages are found like those of all."""

from django.db import migrations

CONTENT = """
    CREATE INDEX auditentry_content ON projects_auditentry (op_time DESC, id DESC)
    WHERE resource_type IN ('artifact', 'tag', 'repository', 'project') AND operation IN ('create', 'delete', 'pull')
"""


class Migration(migrations.Migration):
    dependencies = [("projects", "0010_audit_log")]

    operations = [migrations.RunSQL(CONTENT, "DROP INDEX auditentry_content")]
