"""Projects that the registry or a robot made belong to the first administrator, `library` above all."""

from django.db import migrations

_OWN = """
    UPDATE projects_projectsettings SET owner_id = first.id
    FROM (
        SELECT id FROM rbac_user WHERE is_sysadmin AND is_active AND deleted_at IS NULL
        ORDER BY username <> 'admin', id LIMIT 1
    ) AS first
    WHERE owner_id IS NULL
"""


class Migration(migrations.Migration):
    dependencies = [("projects", "0012_label_color_is_any_text"), ("rbac", "0001_initial")]

    operations = [migrations.RunSQL(_OWN, migrations.RunSQL.noop)]
