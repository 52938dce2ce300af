"""Numbers events and has the consumers deal with them, soon after the commit: in every worker, one of them at a time.

A thread listens for the bell (`registry_core.events.bell`) on a connection of its own. The one that holds the session
lock follows; the others ask for the lock once a second. Where nobody can listen (a transaction pooler, a connection
that is cut), it looks once a second.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import django
import psycopg
from django.db import Error, connection

from registry_core import logs
from registry_core.config import get_config
from registry_core.events.bell import CHANNEL
from registry_core.events.relay import BATCH, relay
from registry_core.logs import redact_text

LOOK_S: Final = 1.0
PACE_S: Final = 0.3
"""Between the beginnings of two rounds: what comes meanwhile is dealt with together."""
FOLLOW_S: Final = 10.0
"""How often periodic jobs do the same, for workers of the release before, which do not follow."""
APPLICATION_NAME: Final = "portolan follower"
_LOCK: Final = (0x706F7274, 2)
_FAILED: Final = "events could not be processed, and are tried again"
_logger = logs.get_logger("portolan.events")

_IS_BEHIND: Final = """
    SELECT (SELECT id FROM events_event WHERE seq IS NULL ORDER BY id LIMIT 1) IS NOT NULL
        OR (SELECT seq FROM events_cursor WHERE name = 'relay')
           > (SELECT min(coalesce(seq, 0)) FROM unnest(%s::text[]) AS known (name) LEFT JOIN events_cursor USING (name))
"""


@dataclass(slots=True)
class Consumer:
    """Something that follows the events. `pause_s`: it is run that seldom at most."""

    name: str
    consume: Callable[[], int]
    pause_s: float = 0.0
    ran_at_s: float = 0.0


_consumers: dict[str, Consumer] = {}


def register_consumer(name: str, consume: Callable[[], int], *, pause_s: float = 0.0) -> None:
    """Have `consume` called when there are events that it has not dealt with; `name` is its cursor's. From `ready`."""
    _consumers[name] = Consumer(name, consume, pause_s)


def catch_up() -> None:
    """Number the new events and have every consumer deal with them. Does nothing while there are none."""
    with connection.cursor() as cursor:
        cursor.execute(_IS_BEHIND, [list(_consumers)])
        is_behind = cursor.fetchone()[0]
    if not is_behind:
        return
    while relay() == BATCH:
        pass
    for consumer in _consumers.values():
        now_s = time.monotonic()
        if now_s - consumer.ran_at_s >= consumer.pause_s:
            consumer.ran_at_s = now_s
            _consume(consumer)


def _consume(consumer: Consumer) -> None:
    """Whatever is wrong with one is tried again in the next round, and holds up none of the others."""
    try:
        consumer.consume()
    except (Error, psycopg.Error) as error:
        _logger.warning(_FAILED, consumer=consumer.name, reason=redact_text(str(error)))
    except Exception:
        _logger.exception(_FAILED, consumer=consumer.name)


class Follower:
    """The thread of one process."""

    def __init__(self, *, database_url: str) -> None:
        self._database_url = database_url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End after the round that is under way."""
        self._stop.set()
        self._thread.join(get_config().shutdown_grace_s)

    def _run(self) -> None:
        said = ""
        while not self._stop.is_set():
            try:
                with self._listening() as listener:
                    said = ""
                    self._follow(listener)
            except (psycopg.Error, OSError) as error:
                reason = redact_text(str(error))
                if reason != said:
                    _logger.warning("cannot listen for events, and looks for them once a second", reason=reason)
                said = reason
                self._round()
                self._stop.wait(LOOK_S)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[psycopg.Connection[Any]]:
        listener = psycopg.connect(
            self._database_url, autocommit=True, connect_timeout=5, application_name=APPLICATION_NAME
        )
        with contextlib.closing(listener):
            listener.execute(f"LISTEN {CHANNEL}")
            yield listener

    def _follow(self, listener: psycopg.Connection[Any]) -> None:
        is_ours = False
        while not self._stop.is_set():
            begin_s = time.monotonic()
            is_ours = is_ours or _is_taken(listener)
            if is_ours:
                self._round()
            self._await_bell(listener)
            if not is_ours:  # the bell is for another one
                self._stop.wait(max(0.0, begin_s + LOOK_S - time.monotonic()))
            self._stop.wait(max(0.0, begin_s + PACE_S - time.monotonic()))

    def _await_bell(self, listener: psycopg.Connection[Any]) -> None:
        for _ in listener.notifies(timeout=LOOK_S, stop_after=1):
            pass

    def _round(self) -> None:
        try:
            catch_up()
        except (Error, psycopg.Error) as error:
            _logger.warning(_FAILED, reason=redact_text(str(error)))
        except Exception:  # whatever it is: it is tried again, and the other rounds go on
            _logger.exception(_FAILED)
        finally:
            connection.close()  # back to the pool


def _is_taken(listener: psycopg.Connection[Any]) -> bool:
    row = listener.execute("SELECT pg_try_advisory_lock(%s, %s)", _LOCK).fetchone()
    return bool(row and row[0])


@contextlib.contextmanager
def following() -> Iterator[None]:
    """While the block runs, events are followed."""
    django.setup()
    follower = Follower(database_url=get_config().database_direct_dsn or "")
    follower.start()
    try:
        yield
    finally:
        follower.stop()
