"""Deletions: one row that groups everything that one delete removed, with the time until which it can be restored."""

from __future__ import annotations

from django.db import connection

from registry_core.access import Cause
from registry_core.config import get_config
from registry_core.content.repositories import RepositoryRef


def begin_deletion(*, repository: RepositoryRef, cause: Cause) -> int:
    """The id of a new deletion in the repository. Runs within the caller's transaction."""
    days = get_config().deleted_retention_days
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO content_deletion (repository_id, subject_kind, subject_id, reason, expires_at)
            VALUES (%s, %s, %s, %s, now() + make_interval(days => %s)) RETURNING id
            """,
            [repository.id, int(cause.subject.kind), cause.subject.id, cause.reason, days],
        )
        return int(cursor.fetchone()[0])
