"""Statements of the data path: prepared by the server, on Django's connection and within its transactions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection
from psycopg import Cursor


@contextmanager
def statements() -> Iterator[Cursor[Any]]:
    """A cursor for statements that are run again and again: after a few times a connection has them parsed and planned.

    Django's own cursor writes values into the text, so that the server sees a new statement each time; planning those
    with several steps costs more than running them. Raises Django's errors, as that cursor does.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, Cursor(connection.connection) as cursor:
        yield cursor
