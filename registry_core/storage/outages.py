"""Outages that an administrator must fix: an unreachable database, a full disk.

Each endpoint reports them in the form of its own errors; what counts as an outage, and its status, is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import psycopg
from django.db import DatabaseError, InterfaceError, OperationalError

from registry_core.machine.durable import FULL
from registry_core.storage.interface import StorageError, StorageFull

RETRY_AFTER_S: Final = 5
_DISK_FULL: Final = "53100"
_READ_ONLY: Final = "25006"
_CANCELLED: Final = "57014"
_DATABASE_AWAY: Final = "the registry's database is not available: try again"


@dataclass(frozen=True, slots=True)
class Outage:
    """Status 503 or 507, the message, and the seconds after which it may be over (None: a person must act)."""

    status: int
    message: str
    retry_after_s: int | None = None


def outage_of(error: BaseException | None) -> Outage | None:
    """The outage that caused an error; None if it has another cause."""
    match error:
        case StorageFull():
            return Outage(507, f"the registry's storage is full or read-only ({error}): tell its administrator")
        case StorageError():
            return Outage(503, f"the registry's storage failed ({error})", RETRY_AFTER_S)
        case DatabaseError() | InterfaceError() | psycopg.Error():
            return _of_database(error)
        case OSError(errno=number) if number in FULL:
            return Outage(507, f"the registry's disk is full or read-only ({error.strerror}): tell its administrator")
    return None


def _of_database(error: Exception) -> Outage | None:
    state = getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None)
    if state == _DISK_FULL:
        return Outage(507, "the disk of the registry's database is full: tell the registry's administrator")
    if state == _READ_ONLY:
        return Outage(503, "the registry's database is read-only at the moment: try again", RETRY_AFTER_S)
    if state == _CANCELLED:
        return Outage(
            503, "this took too long and was cancelled: request fewer rows, narrow the search, or retry", RETRY_AFTER_S
        )
    if isinstance(error, OperationalError | InterfaceError | psycopg.OperationalError | psycopg.InterfaceError):
        return Outage(503, _DATABASE_AWAY, RETRY_AFTER_S)
    return None
