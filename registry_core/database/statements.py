"""Statements of the data path: prepared by the server, on Django's connection and within its transactions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection
from psycopg import Cursor

# For the FROM of a statement whose transaction may be lost with the machine's power, and so waits for no disk. Within
# the statement, because SET LOCAL would be one more on the way there and back.
LOSABLE = "set_config('synchronous_commit', 'off', true) AS losable"


@contextmanager
def statements() -> Iterator[Cursor[Any]]:
    """A cursor for statements that are run again and again: after a few times a connection has them parsed and planned.

    Django's own cursor writes values into the text, so that the server sees a new statement each time; planning those
    with several steps costs more than running them. Raises Django's errors, as that cursor does.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, Cursor(connection.connection) as cursor:
        yield cursor
