"""Counting for lists, up to the limit that a reader can use."""

from __future__ import annotations

from typing import Any

from django.db.models import IntegerField, QuerySet, Subquery


class BoundedCount(Subquery):
    """The number of rows of a subquery, up to one more than `most`."""

    template = "(SELECT count(*) FROM (%(subquery)s) AS counted)"

    def __init__(self, rows: QuerySet[Any], *, most: int) -> None:
        super().__init__(rows.order_by().values("pk")[: most + 1], output_field=IntegerField())


def bounded_count(rows: QuerySet[Any], *, most: int) -> int:
    """The number of rows, up to one more than `most`."""
    return rows.order_by().values("pk")[: most + 1].count()
