"""Compares what a project was charged with its content, and corrects differences.

The counters change in the transactions that change the content, so there should be no differences, with one exception:
processes of the previous release, which does not charge for manifests, during a rolling upgrade.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog
from django.db import connection, transaction

from registry_core.content.repositories import retried
from registry_core.database.statements import statements

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class QuotaAudit:
    """What a project was charged, and for what, in bytes. `wrong_links`: the number of blobs and manifests that are
    charged but absent, present but not charged, or counted wrongly."""

    charged_bytes: int
    blobs_bytes: int
    manifests_bytes: int
    reserved_bytes: int
    leased_bytes: int
    ledger_bytes: int
    wrong_links: int

    @property
    def drift_bytes(self) -> int:
        """How much too much was charged; negative: too little."""
        return self.charged_bytes - self.blobs_bytes - self.manifests_bytes - self.reserved_bytes - self.leased_bytes

    @property
    def is_exact(self) -> bool:
        """Whether counters, ledger and content agree."""
        is_ledger_exact = self.ledger_bytes == self.blobs_bytes + self.manifests_bytes
        return not self.drift_bytes and not self.wrong_links and is_ledger_exact


# One statement, so one snapshot.
_AUDIT = """
    WITH blobs AS (
        SELECT link.blob_id, count(*) AS links FROM content_repositoryblob AS link
        JOIN content_repository AS repository ON repository.id = link.repository_id
        WHERE repository.project_id = %(project)s GROUP BY link.blob_id
    ), manifests AS (
        SELECT artifact.manifest_id, count(*) AS artifacts FROM content_artifact AS artifact
        JOIN content_repository AS repository ON repository.id = artifact.repository_id
        WHERE repository.project_id = %(project)s AND artifact.deleted_at IS NULL GROUP BY artifact.manifest_id
    ), paid_blobs AS (
        SELECT blob_id, links FROM content_projectblob WHERE project_id = %(project)s
    ), paid_manifests AS (
        SELECT manifest_id, artifacts FROM content_projectmanifest WHERE project_id = %(project)s
    )
    SELECT (SELECT coalesce(sum(used_bytes), 0) FROM content_quotastripe WHERE project_id = %(project)s),
           (SELECT coalesce(sum(size_bytes), 0) FROM blobs JOIN content_blob ON id = blob_id),
           (SELECT coalesce(sum(octet_length(content)), 0) FROM manifests JOIN content_manifest ON id = manifest_id),
           (SELECT coalesce(sum(reserved_bytes), 0) FROM content_upload
            JOIN content_repository AS repository ON repository.id = repository_id
            WHERE repository.project_id = %(project)s),
           (SELECT coalesce(sum(leased_bytes), 0) FROM content_quotalease WHERE project_id = %(project)s),
           (SELECT coalesce(sum(delta_bytes), 0) FROM content_quotaentry WHERE project_id = %(project)s),
           (SELECT count(*) FROM blobs FULL JOIN paid_blobs USING (blob_id)
            WHERE blobs.links IS DISTINCT FROM paid_blobs.links)
           + (SELECT count(*) FROM manifests FULL JOIN paid_manifests USING (manifest_id)
              WHERE manifests.artifacts IS DISTINCT FROM paid_manifests.artifacts)
"""
_RECOUNT_MANIFESTS = """
    WITH known AS (
        SELECT artifact.manifest_id, count(*) AS artifacts FROM content_artifact AS artifact
        JOIN content_repository AS repository ON repository.id = artifact.repository_id
        WHERE repository.project_id = %(project)s AND artifact.deleted_at IS NULL GROUP BY artifact.manifest_id
    ), gone AS (
        DELETE FROM content_projectmanifest
        WHERE project_id = %(project)s AND manifest_id NOT IN (SELECT manifest_id FROM known)
        RETURNING manifest_id, -1 AS sign
    ), counted AS (
        INSERT INTO content_projectmanifest AS paid (project_id, manifest_id, artifacts)
        SELECT %(project)s, manifest_id, artifacts FROM known
        ON CONFLICT (project_id, manifest_id) DO UPDATE SET artifacts = excluded.artifacts
        WHERE paid.artifacts <> excluded.artifacts
        RETURNING manifest_id, CASE WHEN xmax = 0 THEN 1 ELSE 0 END AS sign
    )
    INSERT INTO content_quotaentry (project_id, manifest_id, delta_bytes, reason)
    SELECT %(project)s, manifest_id, sign * octet_length(content), 'recount'
    FROM (SELECT * FROM gone UNION ALL SELECT * FROM counted) AS changed JOIN content_manifest ON id = manifest_id
    WHERE sign <> 0
"""


def audit(project_id: int) -> QuotaAudit:
    """Compare a project's charges with its content; changes nothing."""
    with statements() as cursor:
        cursor.execute(_AUDIT, {"project": project_id})
        return QuotaAudit(*(int(value) for value in cursor.fetchall()[0]))


@retried
@transaction.atomic
def mend(project_id: int) -> int:
    """Charge a project for its current manifests and correct its counter; returns by how many bytes it was wrong.

    Blocks every put, delete and charge in the project while it counts its artifacts.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM content_project WHERE id = %s FOR UPDATE", [project_id])
        cursor.execute(
            "SELECT FROM content_projectmanifest WHERE project_id = %s ORDER BY manifest_id FOR UPDATE", [project_id]
        )
        cursor.execute("SELECT FROM content_quotastripe WHERE project_id = %s ORDER BY stripe FOR UPDATE", [project_id])
        cursor.execute(_RECOUNT_MANIFESTS, {"project": project_id})
    drift_bytes = audit(project_id).drift_bytes
    if drift_bytes:
        _correct(project_id, drift_bytes)
    return drift_bytes


def _correct(project_id: int, drift_bytes: int) -> None:
    """Nothing of the allowances remains: the next push redistributes them."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO content_quotastripe (project_id, stripe, used_bytes, allowance_bytes) VALUES (%s, 0, 0, 0)
            ON CONFLICT DO NOTHING
            """,
            [project_id],
        )
        cursor.execute(
            """
            UPDATE content_quotastripe
            SET used_bytes = used_bytes - CASE WHEN stripe = 0 THEN %s ELSE 0 END,
                allowance_bytes = used_bytes - CASE WHEN stripe = 0 THEN %s ELSE 0 END
            WHERE project_id = %s
            """,
            [drift_bytes, drift_bytes, project_id],
        )


def mend_all() -> int:
    """Correct the projects whose counters are wrong and log each; returns their number."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM content_project WHERE deleted_at IS NULL ORDER BY id")
        projects = [row[0] for row in cursor.fetchall()]
    mended = 0
    for project_id in projects:
        found = audit(project_id)
        if found.drift_bytes or found.wrong_links:
            drift_bytes = mend(project_id)
            mended += 1
            _log.warning("the quota of a project was counted anew", project=project_id, drift_bytes=drift_bytes)
    return mended
