"""Before a process joins an installation: does this machine have the keys and the blobs of the others?

A machine with a `DATA` of its own seems to work by itself, but refuses tokens of the others and lacks their blobs. It
is refused while another machine is running. If it is alone it may start with a warning, because a restored or moved
installation looks the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg

from registry_core.config import Config, ConfigError
from registry_core.database.preflight import connected
from registry_core.logs import get_logger
from registry_core.machine.state import machine_id
from registry_core.processes.heartbeats import Seen, seen_by
from registry_core.processes.keys import first_difference, require_readable
from registry_core.storage.filesystem import FilesystemStore
from registry_core.storage.interface import StorageError
from registry_core.storage.stores import store_named

SAMPLE: Final = 20
_NEWEST_BLOBS: Final = """
    SELECT store, storage_key
    FROM (SELECT store, storage_key, state FROM content_blob ORDER BY id DESC LIMIT %s) AS newest WHERE state = %s
"""
_log = get_logger(__name__)


def join(config: Config) -> None:
    """Return if this machine may join. Raises ConfigError, psycopg.OperationalError."""
    require_readable()
    with connected(config.database_dsn) as database:
        heartbeats = seen_by(database)
        others = [heartbeat for heartbeat in heartbeats if heartbeat.machine != machine_id()]
        living = [heartbeat for heartbeat in others if heartbeat.is_alive]
        for problem in problems(database, others):
            if living:
                raise ConfigError(f"{problem}; {living[0].host} is running now")
            _log.warning("this machine differs from those before it", problem=problem)


def problems(database: psycopg.Connection[Any], others: Sequence[Seen]) -> list[str]:
    """Differences between this machine and the others of its installation, each with the remedy."""
    found = []
    if different := first_difference(others, machine=machine_id()):
        other, names = different
        found.append(
            f"{', '.join(names)} in DATA/secrets differ from those of {other.host}: copy DATA/secrets from there, "
            "all machines of an installation need the same"
        )
    if lacks_the_blobs(database):
        found.append(
            f"none of the last {SAMPLE} blobs of the database is in DATA/objects: all machines need the same folders "
            "objects, journal and staging (is one not mounted, or PORTOLAN_DATA another?), or blobs in S3"
        )
    return found


def lacks_the_blobs(database: psycopg.Connection[Any]) -> bool:
    """Whether the newest blobs of the database that should be in our folder are all missing there."""
    from registry_core.content.models import Blob  # of Django, which not every process that joins has set up before

    rows = database.execute(_NEWEST_BLOBS, [SAMPLE, Blob.State.LIVE]).fetchall()
    keys = [key for store, key in rows if store == FilesystemStore.name]
    return bool(keys) and not any(_is_there(key) for key in keys)


def _is_there(key: str) -> bool:
    try:
        return store_named(FilesystemStore.name).size_bytes(key) is not None
    except (OSError, StorageError):
        return True  # not evidence of a wrong folder
