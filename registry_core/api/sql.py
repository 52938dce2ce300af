"""Pieces of statements whose rows go into answers as they are."""

from __future__ import annotations


def api_time_of(column: str) -> str:
    """A column's time as the API writes it: formatting it there is much cheaper than reading and writing it here."""
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""
