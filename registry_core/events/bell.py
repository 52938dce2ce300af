"""Wakes whoever follows the events, after a commit that wrote one.

Not by NOTIFY in the transaction itself: that takes a lock of the whole cluster until its commit. A thread of this
process notifies on a connection of its own, as often as `INTERVAL_S` allows, however many commits there were. Nobody
relies on it: whoever follows also looks once a second.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import Any, Final

import psycopg
from psycopg.pq import ExecStatus

from registry_core.config import get_config
from registry_core.machine.state import machine_id

CHANNEL: Final = "portolan_events"
INTERVAL_S: Final = 0.1
"""At most ten notifications a second of each process: everybody who listens wakes for each of them. What follows the
first is late by as much."""
IDLE_S: Final = 30.0
"""After so long without an event the connection is closed."""
APPLICATION_NAME: Final = "portolan bell"


class Bell:
    """One process's bell. Its thread is started by the first ring."""

    def __init__(self) -> None:
        self._is_wanted = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._connection: psycopg.Connection[Any] | None = None
        self._statement = b""

    def ring(self) -> None:
        """Say that an event was committed. Costs next to nothing, fails never; may be called from any thread."""
        if self._is_wanted.is_set():
            return
        self._is_wanted.set()
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="bell", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            if not self._is_wanted.wait(IDLE_S if self._connection else None):
                self._hang_up()
                continue
            self._is_wanted.clear()
            try:
                self._notify()
            except (psycopg.Error, OSError):
                self._hang_up()  # the database is away, or the connection was cut: those who follow look by themselves
            time.sleep(INTERVAL_S)

    def _notify(self) -> None:
        if self._connection is None:
            self._connection = psycopg.connect(
                get_config().database_direct_dsn or "",
                autocommit=True,
                connect_timeout=5,
                application_name=APPLICATION_NAME,
                prepare_threshold=None,
            )
            # A notification that is lost with the machine's power is missed by nobody, and holds the lock for less.
            self._connection.execute("SET synchronous_commit = off")
            self._statement = f"NOTIFY {CHANNEL}, '{machine_id()}'".encode()
        # Straight to libpq: a cursor for each would take ten times the processor time.
        result = self._connection.pgconn.exec_(self._statement)
        if result.status != ExecStatus.COMMAND_OK:
            raise psycopg.OperationalError("the bell could not be rung")

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                connection.close()


_bell = Bell()


def ring() -> None:
    """Say that an event was committed."""
    _bell.ring()


def _forget() -> None:
    """A child has none of its parent's threads, and must not use its connections."""
    global _bell
    _bell = Bell()


os.register_at_fork(after_in_child=_forget)
