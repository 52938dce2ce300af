"""`portolan worker --beat` with one more kind of job, whose tasks count: each writes one row, within its fence.

Run as a program. A task waits a little between its steps, so that a kill meets it at any of them.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

KIND = "T_COUNT"
TABLE = "counted_by_a_test"


class Count(msgspec.Struct):
    """Which number a task writes, and how long it takes."""

    number: int = 0
    takes_s: float = 0.0


def declare() -> Any:
    """The kind, declared in this process. After Django is set up."""
    from django.db import connection

    from registry_core.jobs.kinds import job_kind
    from registry_core.jobs.running import Run

    def count(run: Run[Count]) -> dict[str, Any]:
        run.log(f"counting {run.parameters.number}")
        run.sleep(run.parameters.takes_s)
        with run.fenced(), connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {TABLE} (number) VALUES (%s)", [run.parameters.number])
        run.sleep(run.parameters.takes_s)
        return {"counted": run.parameters.number}

    return job_kind(KIND, parameters=Count, attempts=1000, is_bulk=True)(count)


if __name__ == "__main__":
    import django

    from registry_core.wiring.cli import app

    django.setup()
    declare()
    app(["worker", *sys.argv[1:]])
