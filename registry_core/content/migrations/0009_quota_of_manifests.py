"""Projects pay for their manifests too, and for their short uploads in advance; what is there is charged now."""

import django.db.models.deletion
from django.db import migrations, models

# Nobody puts or deletes an artifact between the count and the charge.
CHARGE = """
    LOCK TABLE content_artifact IN SHARE MODE;
    INSERT INTO content_projectmanifest (project_id, manifest_id, artifacts)
    SELECT repository.project_id, artifact.manifest_id, count(*) FROM content_artifact AS artifact
    JOIN content_repository AS repository ON repository.id = artifact.repository_id
    WHERE artifact.deleted_at IS NULL GROUP BY repository.project_id, artifact.manifest_id;
    INSERT INTO content_quotaentry (project_id, manifest_id, delta_bytes, reason)
    SELECT paid.project_id, paid.manifest_id, octet_length(manifest.content), 'migration'
    FROM content_projectmanifest AS paid JOIN content_manifest AS manifest ON manifest.id = paid.manifest_id;
    INSERT INTO content_quotastripe (project_id, stripe, used_bytes, allowance_bytes)
    SELECT project_id, stripe, 0, 0
    FROM (SELECT DISTINCT project_id FROM content_projectmanifest) AS paying, generate_series(0, 15) AS stripe
    ORDER BY project_id, stripe ON CONFLICT DO NOTHING;
    SELECT count(*) FROM (SELECT FROM content_quotastripe ORDER BY project_id, stripe FOR UPDATE) AS locked;
    UPDATE content_quotastripe AS counter SET used_bytes = counter.used_bytes + paid.bytes
    FROM (
        SELECT project_id, sum(octet_length(manifest.content)) AS bytes FROM content_projectmanifest
        JOIN content_manifest AS manifest ON manifest.id = manifest_id GROUP BY project_id
    ) AS paid WHERE counter.project_id = paid.project_id AND counter.stripe = 0;
    -- What was dealt out before does not know of this: the next push deals out anew.
    UPDATE content_quotastripe SET allowance_bytes = used_bytes
    WHERE project_id IN (SELECT project_id FROM content_projectmanifest);
"""


class Migration(migrations.Migration):
    dependencies = [("content", "0008_installation_and_marks")]
    operations = [
        migrations.CreateModel(
            "ProjectManifest",
            [
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "project_id", "manifest_id", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("artifacts", models.PositiveIntegerField()),
                (
                    "project",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="content.project",
                    ),
                ),
                (
                    "manifest",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="content.manifest"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            "QuotaLease",
            [
                (
                    "project",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="content.project",
                    ),
                ),
                ("leased_bytes", models.BigIntegerField()),
            ],
        ),
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(
                    "ALTER TABLE content_quotaentry ADD COLUMN manifest_id bigint",
                    "ALTER TABLE content_quotaentry DROP COLUMN manifest_id",
                )
            ],
            [migrations.AddField("quotaentry", "manifest_id", models.BigIntegerField(null=True))],
        ),
        migrations.RunSQL(CHARGE, migrations.RunSQL.noop),
    ]
