"""Finds garbage that is in no queue: links that were never used, and, once a week, everything else.

The transactions that create garbage queue it. Processes of a release before the queue existed do not, nor does a
database that was repaired by hand; so now and then all links, blobs and manifests are looked at, in pages.
"""

from __future__ import annotations

import time
from typing import Final

from django.db import connection

from registry_core.config import get_config
from registry_core.content import unused_links
from registry_core.content.models import Garbage
from registry_core.content.reporters import Reporter

PAGE: Final = 20_000
EVERYTHING_S: Final = 7 * 86_400
LINKS: Final = "garbage: links"
EVERYTHING: Final = "garbage: everything"
Kind = Garbage.Kind

_QUEUE: Final = """
    INSERT INTO content_garbage (kind, repository_id, target_id, due_at)
    SELECT {kind:d}, 0, found.id, clock_timestamp() + make_interval(secs => %(grace)s)
    FROM {table} AS found WHERE found.id > %(last)s AND found.id <= %(last)s + %(page)s AND {unused}
    ON CONFLICT (kind, repository_id, target_id) DO NOTHING
"""
_TABLES: Final = {
    "content_blob": _QUEUE.format(
        kind=Kind.BLOB,
        table="content_blob",
        unused="""NOT EXISTS (SELECT FROM content_repositoryblob WHERE blob_id = found.id)
              AND NOT EXISTS (SELECT FROM content_artifactblob WHERE blob_id = found.id)""",
    ),
    "content_manifest": _QUEUE.format(
        kind=Kind.MANIFEST,
        table="content_manifest",
        unused="NOT EXISTS (SELECT FROM content_artifact WHERE manifest_id = found.id)",
    ),
    "content_repository": _QUEUE.format(
        kind=Kind.REPOSITORY,
        table="content_repository",
        unused="""found.deleted_at < now() - make_interval(days => %(days)s)
              AND NOT EXISTS (SELECT FROM content_deletion WHERE repository_id = found.id)""",
    ),
    "content_project": _QUEUE.format(
        kind=Kind.PROJECT,
        table="content_project",
        unused="""found.deleted_at < now() - make_interval(days => %(days)s)
              AND NOT EXISTS (SELECT FROM content_deletion WHERE project_id = found.id)""",
    ),
}


def queue_unqueued(reporter: Reporter) -> None:
    """Queue the links that were never used; and everything that nothing refers to, if it was not looked for lately."""
    until_s = unused_links.settled_until_s()
    since_s = _place(LINKS)
    if _place(EVERYTHING) < time.time() - EVERYTHING_S or since_s < until_s - EVERYTHING_S:
        queue_everything(reporter)
        _note(EVERYTHING, int(time.time()), reporter)
    elif since_s < until_s:
        unused_links.queue_since(since_s, until_s, reporter)
    _note(LINKS, max(since_s, until_s), reporter)


def queue_everything(reporter: Reporter) -> None:
    """Queue all that nothing refers to, page by page."""
    unused_links.queue_all(reporter)
    values = {"grace": get_config().gc_grace_s, "days": get_config().deleted_retention_days, "page": PAGE}
    for table, statement in _TABLES.items():
        last, end = 0, _largest(table)
        while last < end:
            reporter.check()
            with reporter.fenced(), connection.cursor() as cursor:
                cursor.execute(statement, {**values, "last": last})
            last += PAGE


def _largest(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT coalesce(max(id), 0) FROM {table}")  # noqa: S608 a constant
        return int(cursor.fetchone()[0])


def _place(name: str) -> int:
    """Until when (seconds since the epoch) this was looked for; 0: never."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce((SELECT seq FROM events_cursor WHERE name = %s), 0)", [name])
        return int(cursor.fetchone()[0])


def _note(name: str, until_s: int, reporter: Reporter) -> None:
    with reporter.fenced(), connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO events_cursor AS known (name, seq) VALUES (%s, %s)
            ON CONFLICT (name) DO UPDATE SET seq = greatest(known.seq, excluded.seq)
            """,
            [name, until_s],
        )
