"""The plans of the statements that a server really sends: Postgres writes them to its log, and they are read there."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

# Up to the brace that closes the plan: Postgres writes on while the log is read, and what it is at has no end yet.
_PLAN = re.compile(r"^postgres\[(\d+)\].*duration: [\d.]+ ms  plan:\n((?:\t.*\n)*?\t\}\n)", re.MULTILINE)


@dataclass(frozen=True)
class Scan:
    """One place where a plan reads a table."""

    kind: str
    table: str
    removed_rows: int
    statement: str


class PlanLog:
    """Collects the plans of all statements of one database, of sessions that begin after it was made."""

    def __init__(self, database_url: str) -> None:
        folder = Path(os.environ["TEST_FOLDER"])
        self._log = folder / "servers.log"
        password = (folder / "secrets" / "postgres.password").read_text().strip()
        at = urlsplit(database_url)
        superuser = urlunsplit(at._replace(netloc=f"postgres:{password}@{at.hostname}:{at.port}"))
        # All databases write to one log. A plan names the settings that are not the usual ones, so this harmless one
        # tells whose it is; with an odd last digit, for zeros at the end are not written.
        self._mark = f"0.{random.randrange(100_001, 999_999, 2)}"
        settings = {
            "geqo_seed": self._mark,
            "auto_explain.log_settings": "on",
            "session_preload_libraries": "auto_explain",
            "auto_explain.log_min_duration": "0",
            "auto_explain.log_analyze": "on",
            "auto_explain.log_timing": "off",
            "auto_explain.log_format": "json",
        }
        with psycopg.connect(superuser, autocommit=True) as database:
            database.execute("LOAD 'auto_explain'")  # its settings are known from then on
            for name, value in settings.items():
                statement = sql.SQL("ALTER DATABASE {} SET {} = {}")
                named = sql.SQL(".").join(map(sql.Identifier, name.split(".")))
                database.execute(statement.format(sql.Identifier(at.path[1:]), named, sql.Literal(value)))
        self._begin = self._log.stat().st_size

    def statements(self) -> list[str]:
        """Every statement, as it was sent."""
        return [plan["Query Text"] for _, plan in self._plans()]

    def statements_of(self, sessions: Container[int]) -> list[str]:
        """The statements of the sessions with these process ids."""
        return [plan["Query Text"] for session, plan in self._plans() if session in sessions]

    def scans(self) -> Iterator[Scan]:
        """Every place where a statement read a table."""
        for _, plan in self._plans():
            yield from _scans(plan["Plan"], plan["Query Text"])

    def _plans(self) -> Iterator[tuple[int, dict[str, Any]]]:
        with self._log.open(errors="replace") as log:
            log.seek(self._begin)
            text = log.read()
        for match in _PLAN.finditer(text):
            plan = json.loads(match[2].replace("\n\t", "\n"))
            if plan.get("Settings", {}).get("geqo_seed") == self._mark:
                yield int(match[1]), plan


def _scans(node: dict[str, Any], statement: str) -> Iterator[Scan]:
    if "Relation Name" in node and "Scan" in node["Node Type"]:
        # By loop: what one execution of the node threw away.
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Join Filter", 0)
        yield Scan(node["Node Type"], node["Relation Name"], int(removed), statement)
    for inner in node.get("Plans", ()):
        yield from _scans(inner, statement)
