"""A real `portolan serve`: its processes on a free port, with a database and a data folder of its own."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
import psutil

from registry_core.machine.processes import spawn
from registry_core.wiring import loop_watch
from registry_core.wiring.supervisor.ports import free_port
from tests.support.waiting import wait_until

PORTOLAN = Path(sys.executable).with_name("portolan")
START_WITHIN_S = 120.0
STOP_WITHIN_S = 60.0
HELD_UP = loop_watch.EVENT.encode()


class Server:
    """One registry under test. `start()` answers when /v2/ does."""

    def __init__(
        self,
        *,
        data: Path,
        database_url: str,
        redis_url: str,
        admin_password: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.data = data
        self.database_url = database_url
        self.admin_password = admin_password
        self.address = (environment or {}).get("PORTOLAN_HOST", "127.0.0.1")
        self.port = free_port()
        self.log_path = data.with_name(f"{data.name}.log")
        self.command: list[str] = [str(PORTOLAN), "serve"]
        self.environment = self._environment(redis_url, environment or {})
        self.environment.setdefault("PORTOLAN_EXTERNAL_URL", self.url)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """What stands before the repository's name in an image reference."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"localhost:{self.port}"

    @property
    def url(self) -> str:
        is_https = {"PORTOLAN_TLS", "PORTOLAN_HOSTNAME", "PORTOLAN_TLS_CERT"} & self.environment.keys()
        return f"{'https' if is_https else 'http'}://{self.host}"

    @property
    def authority(self) -> Path:
        """The certificate of the server's own CA."""
        return self.data / "tls" / "ca.crt"

    def migrate(self) -> None:
        """Bring the database to the newest schema and create the first administrator."""
        self._run([str(PORTOLAN), "migrate"])

    def start(self) -> None:
        """Start `portolan serve` and return once it answers. Raises RuntimeError with the log when it ends instead."""
        with self.log_path.open("ab") as log:
            self._process = spawn(self.command, death_signal=signal.SIGTERM, env=self.environment, log=log)
        try:
            wait_until(self._answers, what=f"{self.url}/v2/ answers", within_s=START_WITHIN_S)
        except TimeoutError as error:
            self.kill()
            raise RuntimeError(f"{error}\n{self.log_tail()}") from error

    def ask_to_stop(self) -> None:
        """Ask the server to end, as an init system does; it does not wait."""
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> None:
        """Ask the server to end, and wait for it."""
        if self._process is None:
            return
        self.ask_to_stop()
        try:
            self._process.wait(STOP_WITHIN_S)
        finally:
            self.kill()

    def kill(self) -> None:
        """kill -9 every process of the server at once, as the kernel's out-of-memory killer or a power cut would."""
        if self._process is None:
            return
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):  # workers die with their parent
                process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def restart(self) -> None:
        """Stop the server when it runs, and start it again on the same port, data and database."""
        self.stop()
        self.start()

    def pids(self) -> list[int]:
        """The ids of all processes of the server, the parent first; empty when it does not run."""
        return [process.pid for process in self._tree()]

    def manage(self, code: str) -> str:
        """Run Python `code` with Django set up in the server's environment, and return what it prints.

        The way to arrange what a test needs through the application's own operations. Raises AssertionError with the
        traceback when the code raises.
        """
        return self._run([sys.executable, "-c", f"import django; django.setup()\n{code}"])

    def held_up(self, *, since: int = 0) -> list[str]:
        """What the log, behind its first `since` bytes, says of a held-up event loop (PORTOLAN_WATCH_EVENT_LOOP_MS)."""
        with self.log_path.open("rb") as log:
            log.seek(since)
            return [line.decode(errors="replace") for line in log if HELD_UP in line]

    def log_size_bytes(self) -> int:
        return self.log_path.stat().st_size

    def log_tail(self, *, lines: int = 60) -> str:
        """The end of what the server printed."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def _environment(self, redis_url: str, more: Mapping[str, str]) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PORTOLAN_")}
        return inherited | {
            "DJANGO_SETTINGS_MODULE": "tests.support.settings",
            "PORTOLAN_DATA": str(self.data),
            "PORTOLAN_DATABASE_URL": self.database_url,
            "PORTOLAN_REDIS_URL": redis_url,
            "PORTOLAN_HOST": self.address,
            "PORTOLAN_PORT": str(self.port),
            "PORTOLAN_ADMIN_PASSWORD": self.admin_password,
            **more,
        }

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{command[:2]} ended with {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"portolan serve ended with {self._process.returncode}\n{self.log_tail()}")
        try:
            return httpx.get(f"{self.url}/v2/", timeout=5, verify=False).status_code in {200, 401}  # noqa: S501
        except httpx.TransportError:
            return False

    def _tree(self) -> list[psutil.Process]:
        if self._process is None or self._process.poll() is not None:
            return []
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]
