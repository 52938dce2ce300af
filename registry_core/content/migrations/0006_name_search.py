"""Indexes that find projects and repositories by a part of their names.

They need the extension pg_trgm, which comes with Postgres and which the owner of a database may create. Where that is
not so, nothing breaks: searching reads all names, until someone who may runs `CREATE EXTENSION pg_trgm` and the two
statements below.
"""

import structlog
from django.db import DatabaseError, migrations

EXTENSION = "CREATE EXTENSION IF NOT EXISTS pg_trgm"
INDEXES = (
    "CREATE INDEX CONCURRENTLY IF NOT EXISTS project_name_part ON content_project USING gin (name gin_trgm_ops)",
    "CREATE INDEX CONCURRENTLY IF NOT EXISTS repository_name_part ON content_repository USING gin (name gin_trgm_ops)",
)


def make_indexes(apps, schema_editor):
    try:
        schema_editor.execute(EXTENSION)
    except DatabaseError as error:
        structlog.get_logger(__name__).warning(
            "searching by name will read all names: this database user may not create the extension pg_trgm",
            reason=str(error).strip(),
            remedy="; ".join((EXTENSION, *INDEXES)),
        )
        return
    for statement in INDEXES:
        schema_editor.execute(statement)


def drop_indexes(apps, schema_editor):
    schema_editor.execute("DROP INDEX IF EXISTS project_name_part, repository_name_part")


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("content", "0005_fill_descriptions")]
    operations = [migrations.RunPython(make_indexes, drop_indexes)]
