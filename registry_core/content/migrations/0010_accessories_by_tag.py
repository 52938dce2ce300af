"""Artifacts that 0005 took for accessories because of one of their tags: they are listed again.

As with a push: what has a tag of its own stays an artifact, and none is about itself.
"""

from django.db import migrations

LISTED_AGAIN = r"""
UPDATE content_artifact AS artifact SET accessory_of = NULL, accessory_kind = NULL
WHERE deleted_at IS NULL AND accessory_of IS NOT NULL AND subject_digest IS NULL AND (
    accessory_of = digest
    OR EXISTS (SELECT FROM content_tag WHERE artifact_id = artifact.id AND deleted_at IS NULL
               AND name ~ '^sha256-[0-9a-f]{64}\.(sig|att|sbom)$')
       AND EXISTS (SELECT FROM content_tag WHERE artifact_id = artifact.id AND deleted_at IS NULL
                   AND name !~ '^sha256-[0-9a-f]{64}\.(sig|att|sbom)$'))
"""


class Migration(migrations.Migration):
    dependencies = [("content", "0009_quota_of_manifests")]
    operations = [migrations.RunSQL(LISTED_AGAIN, "")]
