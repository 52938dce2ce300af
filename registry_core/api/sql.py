"""SQL fragments for values that go into answers unchanged."""

from __future__ import annotations


def api_time_of(column: str) -> str:
    """A column's time as the API writes it: formatting in Postgres is much cheaper than parsing and formatting here."""
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""
