"""PgBouncer in front of the tests' database."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from registry_core.wiring.supervisor.ports import free_port
from tests.support.tools import tool
from tests.support.waiting import wait_until


@contextmanager
def pooler(url: str) -> Iterator[str]:
    """A PgBouncer that lends its connections for a transaction, in front of the database; its URL."""
    parts, port = urlsplit(url), free_port()
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder) / "pgbouncer.ini"
        configuration.write_text(
            f"[databases]\n* = host={parts.hostname} port={parts.port} "
            f"user={parts.username} password={parts.password}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\npool_mode = transaction\n"
        )
        Path(folder).chmod(0o755)
        command = [str(tool("pgbouncer")), *(["-u", "nobody"] if os.geteuid() == 0 else []), str(configuration)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                wait_until(lambda: _is_listening(port), what="pgbouncer listens")
                yield urlunsplit(parts._replace(netloc=f"{parts.username}:x@127.0.0.1:{port}"))
            finally:
                process.terminate()


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
