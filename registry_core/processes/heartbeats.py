"""Heartbeats: every process records in the database that it is running, so that a missing role is noticed.

One row per role and machine, which each process writes at most once in `BEAT_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.metadata
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from django.db import connection
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from registry_core.logs import get_logger
from registry_core.machine.state import machine_id
from registry_core.processes.keys import fingerprints

SERVE: Final = "serve"
WORKER: Final = "worker"
CLOCK: Final = "clock"
BEAT_S: Final = 15.0
ALIVE_S: Final = 60.0
FORGOTTEN_DAYS: Final = 7

_WRITE: Final = """
    INSERT INTO processes_heartbeat (machine, role, host, version, facts, seen_at) VALUES (%s, %s, %s, %s, %s, now())
    ON CONFLICT (machine, role) DO UPDATE
    SET host = excluded.host, version = excluded.version, facts = excluded.facts, seen_at = now()
    WHERE processes_heartbeat.seen_at < now() - interval '5 seconds' OR processes_heartbeat.facts <> excluded.facts
"""
_FORGET: Final = "DELETE FROM processes_heartbeat WHERE seen_at < now() - make_interval(days => %s)"
_READ: Final = """
    SELECT machine, role, host, facts, extract(epoch FROM now() - seen_at)::float FROM processes_heartbeat
    ORDER BY seen_at DESC
"""
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a machine reported about one role, `age_s` seconds ago by the database's clock."""

    machine: str
    role: str
    host: str
    facts: dict[str, Any]
    age_s: float

    @property
    def is_alive(self) -> bool:
        """Whether the report is recent enough to count as running."""
        return self.age_s < ALIVE_S


def beat(role: str) -> None:
    """Record that this process is running. Raises Django's database errors."""
    with connection.cursor() as cursor:
        cursor.execute(_WRITE, _values(role))
        cursor.execute(_FORGET, [FORGOTTEN_DAYS])


def seen() -> list[Seen]:
    """The reports of all machines, the latest first. Raises Django's database errors."""
    with connection.cursor() as cursor:
        cursor.execute(_READ)
        rows = cursor.fetchall()
    # Django's connections return JSON as text.
    return [Seen(machine, role, host, json.loads(facts), age_s) for machine, role, host, facts, age_s in rows]


def seen_by(database: psycopg.Connection[Any]) -> list[Seen]:
    """The same, on a given connection. Raises psycopg.Error."""
    return [Seen(*row) for row in database.execute(_READ)]


def living_roles(heartbeats: Sequence[Seen]) -> set[str]:
    """The roles for which some process on some machine is running."""
    return {heartbeat.role for heartbeat in heartbeats if heartbeat.is_alive}


async def beat_for_ever(role: str, pool: AsyncConnectionPool[Any]) -> None:
    """Write heartbeats for ever, on the event loop. During an outage of the database none are written, silently."""
    while True:
        with contextlib.suppress(psycopg.Error, OSError):
            async with pool.connection() as database:
                await database.execute(_WRITE, _values(role))
        await asyncio.sleep(BEAT_S)


@contextlib.contextmanager
def beating(roles: Sequence[str], *, while_: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Write heartbeats from a thread while the block runs and `while_` is true."""
    is_over = threading.Event()
    thread = threading.Thread(target=_beat_until, args=(is_over, roles, while_), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()


def _beat_until(is_over: threading.Event, roles: Sequence[str], is_alive: Callable[[], bool]) -> None:
    has_failed = False
    while True:
        try:
            for role in roles if is_alive() else ():
                beat(role)
            has_failed = False
        except Exception as error:  # whatever it is, it is tried again
            if not has_failed:
                _log.warning("the heartbeat of this process cannot be written", reason=str(error))
            has_failed = True
        finally:
            connection.close()  # return it to the pool
        if is_over.wait(BEAT_S):
            return


def _values(role: str) -> list[Any]:
    return [machine_id(), role, socket.gethostname()[:255], _version(), Jsonb(fingerprints())]


@functools.cache
def _version() -> str:
    return importlib.metadata.version("portolan")[:64]
