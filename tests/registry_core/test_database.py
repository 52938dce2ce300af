"""The connections of operations: looked at before they are used, and with statements that the server has prepared."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import IntegrityError, connection, connections
from psycopg import Connection

from registry_core.config import PREPARED_AFTER
from registry_core.database.base import DatabaseWrapper, is_alive
from registry_core.database.statements import statements
from tests.support.waiting import wait_until


@pytest.mark.django_db(transaction=True)
def test_connection_that_ended_in_the_pool_is_not_used() -> None:
    with _elsewhere() as other:
        ended = _backend()
        connection.close()
        other.execute("SELECT pg_terminate_backend(%s)", [ended])
        wait_until(lambda: not _is_there(other, ended), what="the backend has ended")

        assert ended not in _all_of_the_pool()


@pytest.mark.django_db(transaction=True)
def test_connection_that_was_only_told_something_is_used_on() -> None:
    with _elsewhere() as other, connection.cursor() as cursor:
        cursor.execute("LISTEN gossip")
        other.execute("NOTIFY gossip")
        raw = connection.connection
        wait_until(lambda: _has_something_to_read(raw), what="the notice has come")

        assert is_alive(raw)
        cursor.execute("UNLISTEN gossip")


@pytest.mark.django_db(transaction=True)
def test_statement_is_prepared_once_it_was_run_a_few_times() -> None:
    for _ in range(PREPARED_AFTER + 1):
        with statements() as cursor:
            cursor.execute("SELECT 'prepared here', %s::int", [1])

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE %s", ["%prepared here%"])
        assert cursor.fetchone() == (1,)


@pytest.mark.django_db(transaction=True)
def test_errors_of_statements_are_those_of_django(unique: str) -> None:
    make = """
        INSERT INTO content_project (name, is_public, allows_sparse_manifests, storage_limit_bytes)
        VALUES (%s, false, false, -1)
    """
    with statements() as cursor:
        cursor.execute(make, [unique])
    with pytest.raises(IntegrityError), statements() as cursor:
        cursor.execute(make, [unique])


@contextmanager
def _elsewhere() -> Iterator[Connection[Any]]:
    parameters = connection.get_connection_params()
    wanted = {key: parameters[key] for key in ("dbname", "user", "password", "host", "port") if key in parameters}
    with Connection.connect(**wanted, autocommit=True) as other:
        yield other


def _backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def _all_of_the_pool() -> set[int]:
    backends = set()
    wrapper = connections["default"]
    assert isinstance(wrapper, DatabaseWrapper)
    for _ in range(wrapper.pool.get_stats()["pool_size"]):
        connection.close()
        backends.add(_backend())
    return backends


def _is_there(other: Connection[Any], backend: int) -> bool:
    return other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [backend]).fetchone() is not None


def _has_something_to_read(raw: Connection[Any]) -> bool:
    return bool(select.select([raw.fileno()], [], [], 0)[0])
