"""What is known already: which artifacts are accessories, how often repositories were pulled from."""

from django.db import migrations

BY_SUBJECT = """
UPDATE content_artifact SET accessory_of = subject_digest, accessory_kind = CASE
    WHEN artifact_type IN ('application/vnd.dev.cosign.artifact.sig.v1+json',
                           'application/vnd.dev.sigstore.bundle.v0.3+json') THEN 1
    WHEN artifact_type = 'application/vnd.cncf.notary.signature' THEN 2
    WHEN artifact_type = 'application/vnd.goharbor.harbor.sbom.v1' THEN 3 ELSE 5 END
WHERE subject_digest IS NOT NULL
"""
BY_TAG = r"""
UPDATE content_artifact AS artifact
SET accessory_of = '\x01'::bytea || decode(substr(tag.name, 8, 64), 'hex'),
    accessory_kind = CASE WHEN tag.name LIKE '%.sig' THEN 1 ELSE 5 END
FROM content_tag AS tag
WHERE tag.artifact_id = artifact.id AND tag.deleted_at IS NULL AND artifact.accessory_of IS NULL
  AND tag.name ~ '^sha256-[0-9a-f]{64}\.(sig|att|sbom)$'
"""
REPOSITORIES = """
UPDATE content_repository AS repository SET updated_at = created_at, pull_count = coalesce(
    (SELECT sum(pull_count) FROM content_artifact WHERE repository_id = repository.id AND deleted_at IS NULL), 0)
"""


class Migration(migrations.Migration):
    dependencies = [("content", "0004_description_indexes")]
    operations = [migrations.RunSQL(statement, "") for statement in (BY_SUBJECT, BY_TAG, REPOSITORIES)]
