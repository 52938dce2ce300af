"""Repairs indexes after an interrupted migration, before the next one.

Indexes of growing tables are created concurrently, outside a transaction. An interrupted migration may leave indexes
that exist although the migration is not recorded, and one that is invalid: maintained but never used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg import sql

from registry_core.logs import get_logger

_LEFT_BY_REINDEX = re.compile(r"_cc(?:new|old)[0-9]*\Z")
_INVALID = """
    SELECT class.relname FROM pg_index AS index JOIN pg_class AS class ON class.oid = index.indexrelid
    WHERE NOT index.indisvalid AND class.relkind = 'i' AND class.relnamespace = current_schema()::regnamespace
      AND NOT EXISTS (SELECT 1 FROM pg_stat_progress_create_index AS building WHERE building.index_relid = class.oid)
    ORDER BY class.relname
"""
_log = get_logger("portolan.migrate")


def repair_indexes(connection: psycopg.Connection[Any], *, to_be_made: Iterable[str]) -> None:
    """Drop existing indexes among `to_be_made` (of migrations that are not recorded), and rebuild invalid ones.
    `connection` is in autocommit mode. What cannot be repaired now is left, and logged."""
    for name in to_be_made:
        if connection.execute("SELECT to_regclass(%s)", [name]).fetchone() != (None,):
            _log.info("dropping an index that an interrupted migration left", index=name)
            _run(connection, "DROP INDEX CONCURRENTLY IF EXISTS {}", name)
    for (name,) in connection.execute(_INVALID).fetchall():
        _log.info("repairing an index that was left half made", index=name)
        is_copy = _LEFT_BY_REINDEX.search(name)
        _run(connection, "DROP INDEX CONCURRENTLY IF EXISTS {}" if is_copy else "REINDEX INDEX CONCURRENTLY {}", name)


def _run(connection: psycopg.Connection[Any], statement: str, name: str) -> None:
    try:
        connection.execute(sql.SQL(statement).format(sql.Identifier(name)))
    except psycopg.Error as error:
        _log.warning("the index cannot be repaired now: `portolan migrate` tries again", index=name, reason=str(error))
