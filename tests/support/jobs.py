"""The jobs that `portolan worker` and `portolan beat` run each second, for a server that is tested without them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from registry_core.machine.processes import spawn
from tests.support.server import Server

_EACH_SECOND = """
import time
import django
django.setup()
from projects.audit.consumer import write_entries
from registry_core.content.push_times import note_push_times
from registry_core.events.relay import relay
from registry_core.processes.heartbeats import beat
while True:
    beat("worker")
    beat("clock")
    relay()
    write_entries()
    note_push_times()
    time.sleep(0.2)
"""


@contextmanager
def audit_log_written(server: Server) -> Iterator[None]:
    """While the block runs, what happens on the server comes into its audit log within a second."""
    server.manage("from registry_core.processes.heartbeats import beat; beat('worker'); beat('clock')")
    with server.log_path.open("ab") as log:
        process = spawn(
            [sys.executable, "-c", _EACH_SECOND], death_signal=signal.SIGTERM, env=server.environment, log=log
        )
    try:
        yield
    finally:
        process.kill()
        process.wait()
