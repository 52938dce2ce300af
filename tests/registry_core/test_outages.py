"""Which errors are an outage, and what a client is told of each."""

from __future__ import annotations

import errno

import psycopg
import pytest
from django.db import DataError, IntegrityError, InterfaceError, InternalError, OperationalError
from psycopg_pool import PoolTimeout

from registry_core.storage.interface import StorageError, StorageFull
from registry_core.storage.outages import RETRY_AFTER_S, Outage, outage_of


def of_django(kind: type[Exception], cause: Exception) -> Exception:
    """The error as Django raises it."""
    try:
        raise kind("x") from cause
    except kind as error:
        return error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PoolTimeout("x"), 503),
        (psycopg.OperationalError("x"), 503),
        (psycopg.errors.TooManyConnections("x"), 503),
        (psycopg.errors.ReadOnlySqlTransaction("x"), 503),
        (of_django(InternalError, psycopg.errors.ReadOnlySqlTransaction("x")), 503),
        (OperationalError("x"), 503),
        (InterfaceError("the connection is closed"), 503),
        (StorageError("x"), 503),
        (StorageFull("x"), 507),
        (psycopg.errors.DiskFull("x"), 507),
        (of_django(OperationalError, psycopg.errors.DiskFull("x")), 507),
        (OSError(errno.ENOSPC, "No space left on device"), 507),
        (OSError(errno.EROFS, "Read-only file system"), 507),
    ],
)
def test_outage_is_told_with_a_time_to_wait_where_waiting_helps(error: Exception, status: int) -> None:
    outage = outage_of(error)
    assert isinstance(outage, Outage)
    assert outage.status == status
    assert outage.retry_after_s == (RETRY_AFTER_S if status == 503 else None)


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), IntegrityError("x"), DataError("x"), FileNotFoundError("x"), psycopg.errors.UndefinedTable()],
)
def test_other_errors_are_none(error: Exception) -> None:
    assert outage_of(error) is None
