"""More servers on what a first one stores: of the same machine, or as a machine of its own."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.server import Server

WATCHED = {"PORTOLAN_WATCH_EVENT_LOOP_MS": "50"}
"""As the server that tests share: then an answer also says which process gave it, to who asks."""


def twin_of(server: Server) -> Server:
    """A second server process of the same machine, on another port; not started yet."""
    return _beside(server, "twin", {})


def other_machine(server: Server, folder: Path, **environment: str) -> Server:
    """A second machine: it shares the folder and the database and keeps generations of its own; not started yet."""
    return _beside(server, folder.name, {"PORTOLAN_MACHINE": str(folder), **environment})


def _beside(server: Server, name: str, environment: dict[str, str]) -> Server:
    beside = Server(
        data=server.data,
        database_url=environment.pop("PORTOLAN_DATABASE_URL", server.database_url),
        redis_url=os.environ["PORTOLAN_REDIS_URL"],
        admin_password=server.admin_password,
        environment=WATCHED | environment,
    )
    beside.log_path = Path(f"{beside.log_path}.{name}")
    return beside
