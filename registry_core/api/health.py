"""Health of the registry's components and processes. Each component is really queried, with a timeout of two seconds.

A process reuses an answer for `FRESH_S`, so that an endpoint without authentication cannot be used to open database
connections or to write to the store at the rate of requests.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import psycopg
from django.db import connection

from registry_core.config import Config, get_config
from registry_core.jobs.broker import require_broker
from registry_core.logs import get_logger
from registry_core.machine.state import machine_id
from registry_core.processes.heartbeats import CLOCK, WORKER, living_roles, seen
from registry_core.processes.keys import first_difference
from registry_core.storage.stores import default_store

TIMEOUT_S: Final = 2
FRESH_S: Final = 1.0
LATEST_S: Final = 10.0
HEALTHY: Final = "healthy"
UNHEALTHY: Final = "unhealthy"

log = get_logger(__name__)


class Unhealthy(Exception):
    """A component is unhealthy; the message may be shown to anybody."""


@dataclass(frozen=True, slots=True)
class Component:
    """A component and its state. `error` says what is wrong without revealing where the component runs."""

    name: str
    is_healthy: bool
    error: str = ""


class HealthProbe:
    """Queries every component at the same time and reuses the answer for `FRESH_S`. Shared by the threads of a process.

    Only one thread queries. While it waits for a component that does not answer, others get the previous answer, unless
    that is older than `LATEST_S`: anybody may ask, and threads that wait here are not available for other requests. A
    component that has not answered yet is not queried again.
    """

    def __init__(self, checks: dict[str, Callable[[], None]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._checks, self._clock = checks, clock
        self._changed = threading.Condition()
        self._is_asking = False
        self._components: list[Component] = []
        self._asked_at = -math.inf
        self._under_way: dict[str, Future[Component]] = {}

    def components(self) -> list[Component]:
        """The state of each component, in a fixed order."""
        with self._changed:
            while self._age_s() >= FRESH_S and self._is_asking:
                if self._age_s() < LATEST_S:
                    return self._components
                self._changed.wait()
            if self._age_s() < FRESH_S:
                return self._components
            self._is_asking = True
        try:
            components = self._ask()
            with self._changed:
                self._components, self._asked_at = components, self._clock()
            return components
        finally:
            with self._changed:
                self._is_asking = False
                self._changed.notify_all()

    def _age_s(self) -> float:
        return self._clock() - self._asked_at

    def _ask(self) -> list[Component]:
        until_s = time.monotonic() + TIMEOUT_S + 0.5
        pool = ThreadPoolExecutor(max_workers=len(self._checks), thread_name_prefix="health")
        try:
            for name, check in self._checks.items():
                if name not in self._under_way or self._under_way[name].done():
                    self._under_way[name] = pool.submit(_asked, name, check)
            return [_awaited(name, self._under_way[name], until_s) for name in self._checks]
        finally:
            pool.shutdown(wait=False)


def _awaited(name: str, answer: Future[Component], until_s: float) -> Component:
    try:
        return answer.result(max(0.0, until_s - time.monotonic()))
    except TimeoutError:
        return Component(name, is_healthy=False, error=f"no answer within {TIMEOUT_S} s")


def _asked(name: str, check: Callable[[], None]) -> Component:
    try:
        check()
    except Unhealthy as error:
        _note(name, str(error))
        return Component(name, is_healthy=False, error=str(error))
    except Exception as error:
        _note(name, str(error))
        return Component(name, is_healthy=False, error="does not answer; see the registry's log")
    finally:
        connection.close()  # back to the pool, when one was used
    _noted.pop(name, None)
    return Component(name, is_healthy=True)


def _note(name: str, reason: str) -> None:
    """Log a problem once for as long as it stays the same: the endpoint is called again and again."""
    if _noted.get(name) != reason:
        log.warning("a component is unhealthy", component=name, error=reason)
    _noted[name] = reason


_noted: dict[str, str] = {}


def check_database(dsn: str | None) -> None:
    """Raises if a new connection to the Postgres at `dsn` cannot run a query."""
    if dsn is None:
        raise LookupError("no database is configured")
    with psycopg.connect(dsn, connect_timeout=TIMEOUT_S) as database:
        database.execute(f"SET LOCAL statement_timeout = {TIMEOUT_S * 1000}")  # poolers refuse an option
        is_read_only = database.execute("SELECT current_setting('transaction_read_only')::boolean").fetchone()
    if is_read_only == (True,):
        raise Unhealthy("it is read-only: pulls work, but nothing can be pushed or changed")


def check_redis(url: str | None) -> None:
    """Raises if the Valkey at `url` does not accept a key: unreachable, full, or a replica."""
    if url is None:
        raise LookupError("no Redis is configured")
    require_broker(url, timeout_s=TIMEOUT_S)


def check_storage() -> None:
    """Raises if the object store cannot store and return an object: full, read-only or gone."""
    store = default_store()
    key, content = store.new_key(), b"health"
    try:
        writer = store.writer(key, offset=0, parts=[])
        writer.write(content)
        if b"".join(store.read(writer.commit())) != content:
            raise OSError("the store returned different bytes than were written")
    finally:
        store.forget(key, parts=[])


def check_role(role: str, remedy: str) -> None:
    """Raises Unhealthy if no process of the role has reported lately."""
    if role not in living_roles(seen()):
        raise Unhealthy(f"none is running: start `{remedy}`")


def check_keys() -> None:
    """Raises Unhealthy if a running machine has other keys than this one."""
    if first_difference((one for one in seen() if one.is_alive), machine=machine_id()):
        raise Unhealthy("machines of this installation have different keys; see `portolan check`")


def check_disk(config: Config) -> None:
    """Raises Unhealthy if a disk has less than `disk_free_min_percent` free."""
    for folder in dict.fromkeys((config.data, config.data / "objects", config.run_dir)):
        if not folder.exists():
            continue
        disk = os.statvfs(folder)
        if disk.f_blocks and disk.f_bavail * 100 < disk.f_blocks * config.disk_free_min_percent:
            raise Unhealthy(f"a disk is nearly full: less than {config.disk_free_min_percent} % of it is free")


probe = HealthProbe(
    {
        "database": lambda: check_database(get_config().database_dsn),
        "redis": lambda: check_redis(get_config().redis_dsn),
        "storage": check_storage,
        "disk": lambda: check_disk(get_config()),
        "worker": lambda: check_role(WORKER, "portolan worker"),
        "clock": lambda: check_role(CLOCK, "portolan worker --beat"),
        "keys": check_keys,
    }
)
