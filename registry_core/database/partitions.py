"""Monthly partitions of append-only tables: created ahead of time, and for the first months in migrations."""

from __future__ import annotations

import datetime as dt

from django.db import connection

MONTHS_AHEAD = 3

_CREATE = (
    'CREATE TABLE IF NOT EXISTS "{table}_{year:04d}{month:02d}" '
    "PARTITION OF \"{table}\" FOR VALUES FROM ('{start}') TO ('{end}')"
)


_tables: set[str] = set()


def register_partitioned(*tables: str) -> None:
    """Register tables whose monthly partitions are created ahead of time. From `ready`."""
    _tables.update(tables)


def month_after(month: dt.date) -> dt.date:
    """The first day of the month after."""
    return (month.replace(day=1) + dt.timedelta(days=32)).replace(day=1)


def partition_statement(table: str, month: dt.date) -> str:
    """The statement that creates the partition of `table` for the month that begins at `month`; safe to repeat."""
    return _CREATE.format(table=table, year=month.year, month=month.month, start=month, end=month_after(month))


def ensure_partitions(today: dt.date) -> None:
    """Create the partitions of this month and the next ones. Rows outside go into the default partition."""
    month = today.replace(day=1)
    with connection.cursor() as cursor:
        for _ in range(MONTHS_AHEAD + 1):
            for table in sorted(_tables):
                cursor.execute(partition_statement(table, month))
            month = month_after(month)
