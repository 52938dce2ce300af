"""What an operator sees of the caches: SIGUSR2 to the parent of the workers."""

from __future__ import annotations

import json
import os
import signal

from tests.conftest import ServerFactory
from tests.support.server import Server
from tests.support.waiting import wait_until


def test_a_signal_to_the_server_has_each_worker_log_its_caches(start_server: ServerFactory) -> None:
    server = start_server(PORTOLAN_WORKERS="2")
    parent = server.pids()[0]
    os.kill(parent, signal.SIGUSR2)
    wait_until(lambda: len(_figures(server, "manifests")) == 2, what="both workers have logged their caches")
    (first, _) = _figures(server, "manifests")
    assert first["bound_bytes"] == (128 << 20) // 2
    assert {"hits", "misses", "entries", "size_bytes"} <= first.keys()
    assert server.pids()[0] == parent


def _figures(server: Server, name: str) -> list[dict[str, object]]:
    lines = [line for line in server.log_path.read_text().splitlines() if '"portolan.caches"' in line]
    return [figures for line in lines if (figures := json.loads(line))["name"] == name]
