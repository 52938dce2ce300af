"""Purging the audit log: entries of some types that are older than some hours, in batches that nobody waits for."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from django.db import connection

from projects.audit.mapping import event_types
from projects.events import AuditLogPurged
from registry_core.events.outbox import emit
from registry_core.jobs.running import Run

BATCH: Final = 5000
HOURS_MAX: Final = 240_000
_COUNT: Final = """
    SELECT count(*) FROM projects_auditentry
    WHERE op_time < now() - make_interval(hours => %(hours)s) AND operation || '_' || resource_type = ANY(%(types)s)
"""
_DELETE: Final = """
    WITH old AS (
        SELECT id, op_time FROM projects_auditentry
        WHERE op_time < now() - make_interval(hours => %(hours)s) AND operation || '_' || resource_type = ANY(%(types)s)
        LIMIT %(most)s
    )
    DELETE FROM projects_auditentry AS entry USING old WHERE entry.id = old.id AND entry.op_time = old.op_time
"""


class PurgeParameters(msgspec.Struct, omit_defaults=True):
    """Which entries go: those older than so many hours, of these types, such as `pull_artifact`, separated by commas.

    No types: nothing goes. `include_operations` is what earlier clients send: operations without what they are about.
    """

    audit_retention_hour: int = 0
    include_event_types: str = ""
    include_operations: str = ""
    dry_run: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for hours out of bounds, or for an unknown type."""
        if not 0 < self.audit_retention_hour <= HOURS_MAX:
            raise ValueError(f"audit_retention_hour is 1 to {HOURS_MAX}, not {self.audit_retention_hour}")
        if unknown := _words(self.include_event_types) - set(event_types()):
            raise ValueError(
                f"there are no audit events {', '.join(sorted(unknown))[:200]}: GET /auditlog-exts/events lists them"
            )
        known = {each.partition("_")[0] for each in event_types()}
        if unknown := _words(self.include_operations) - known:
            raise ValueError(f"there are no operations {', '.join(sorted(unknown))[:200]} in the audit log")

    @property
    def types(self) -> list[str]:
        """The types of entries that go."""
        operations = _words(self.include_operations)
        of_operations = {each for each in event_types() if each.partition("_")[0] in operations}
        return sorted(_words(self.include_event_types) | of_operations)


def _words(text: str) -> set[str]:
    return {word.strip() for word in text.split(",") if word.strip()}


def purge(run: Run[PurgeParameters]) -> dict[str, Any]:
    """Delete the entries, or count them in a dry run; what was deleted is itself an entry."""
    parameters = run.parameters
    values: dict[str, Any] = {"hours": parameters.audit_retention_hour, "types": parameters.types, "most": BATCH}
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, values)
        total = int(cursor.fetchone()[0])
    verb = "would delete" if parameters.dry_run else "deletes"
    run.log(
        f"{verb} {total} entries older than {parameters.audit_retention_hour} hours of the types "
        f"{', '.join(parameters.types) or 'none'}"
    )
    run.progress(0, total)
    return {"deleted": 0 if parameters.dry_run else _delete_all(run, values, total), "found": total}


def _delete_all(run: Run[PurgeParameters], values: dict[str, Any], total: int) -> int:
    deleted = 0
    while True:
        run.check()
        with run.fenced(), connection.cursor() as cursor:
            cursor.execute(_DELETE, values)
            batch = int(cursor.rowcount)
            if batch:
                emit(AuditLogPurged(entries=batch, hours=values["hours"], types=values["types"]), cause=run.cause)
        deleted += batch
        run.progress(deleted, max(total, deleted))
        if batch < BATCH:
            break
    run.log(f"deleted {deleted} entries")
    return deleted
