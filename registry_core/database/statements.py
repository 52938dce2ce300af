"""Statements of the data path: prepared by the server, on Django's connection and in its transactions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection
from psycopg import Cursor

# For the FROM of a statement whose transaction may be lost in a power cut, so its commit does not wait for the disk. It
# is part of the statement, because SET LOCAL would be another round trip.
LOSABLE = "set_config('synchronous_commit', 'off', true) AS losable"


@contextmanager
def statements() -> Iterator[Cursor[Any]]:
    """A cursor for repeated statements: after a few executions a connection has them parsed and planned.

    Django's own cursor puts values into the text, so that each statement is new to the server, and planning a statement
    with several steps costs more than running it. Raises Django's errors, as that cursor does.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, Cursor(connection.connection) as cursor:
        yield cursor
