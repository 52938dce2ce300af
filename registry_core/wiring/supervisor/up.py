"""`portolan up`: starts everything in order, keeps it running, and ends it in order.

postgres, valkey → migrate → serve, worker; the end is worker, serve (drains), valkey, postgres. `serve` and `worker`
(which also runs the clock of the periodic jobs) are forked from this process, to share the memory of imports.
"""

import contextlib
import http.client
import os
import signal
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psycopg

from registry_core import logs
from registry_core.config import Config, get_config
from registry_core.machine.durable import make_folder
from registry_core.machine.processes import end, end_leftovers, spawn
from registry_core.machine.run_as import account_of, hand_over
from registry_core.machine.secretfiles import write_secret
from registry_core.tls.authority import authority_path
from registry_core.tls.served import prepare
from registry_core.wiring.preload import preload
from registry_core.wiring.supervisor.errors import StartFailed, SupervisorError
from registry_core.wiring.supervisor.pidfile import PidFile
from registry_core.wiring.supervisor.ports import require_free
from registry_core.wiring.supervisor.postgres import EmbeddedPostgres
from registry_core.wiring.supervisor.programs import PortolanProcess, portolan_command
from registry_core.wiring.supervisor.stopping import StopSignal
from registry_core.wiring.supervisor.valkey import EmbeddedValkey

ADMIN_PASSWORD_FILE = "admin.password"  # noqa: S105 - the name of a file
_POLL_S = 0.2
_BACKOFF_FIRST_S = 0.5
_BACKOFF_MAX_S = 30.0
_STABLE_S = 60.0
_TRIES_BEFORE_READY = 5
_CONFIGURATION = 3
_SAID_WHY = {_CONFIGURATION}  # exit codes of a command whose one line tells a person what to do

logger = logs.get_logger("portolan.up")


class Service(Protocol):
    """What the supervisor keeps running."""

    name: str

    def start(self) -> object:
        """Start it; whatever it needs is running."""

    def stop(self) -> None:
        """End it completely."""

    def exit_code(self) -> int | None:
        """None while it is running."""

    @property
    def group(self) -> int:
        """Its process group, 0 if it is not running."""


@dataclass
class _Watched:
    """A service with the history of its failures."""

    service: Service
    started: float
    failures: int = 0
    restart_at: float | None = None


def run_up(config: Config, *, commands: Mapping[str, Callable[[], object]]) -> int:
    """Run the registry on this machine until a signal; returns the exit code. `commands`: what runs in each child, by
    name.

    Raises SupervisorError, or ConfigError, if it cannot start.
    """
    _show_data(config)
    make_folder(config.run_dir)
    hand_over(config)
    with PidFile(config.run_dir / "portolan.pid") as pid_file:
        end_leftovers(pid_file.leftover_groups, data=config.data)
        require_free(config.host, config.port)
        if config.serves_tls and config.http_port is not None:
            require_free(config.host, config.http_port, key="http_port")
        prepare(config)
        return Supervisor(config, commands, pid_file=pid_file).run()


class Supervisor:
    """One run of `portolan up`."""

    def __init__(self, config: Config, commands: Mapping[str, Callable[[], object]], *, pid_file: PidFile) -> None:
        self._config = config
        self._commands = commands
        self._pid_file = pid_file
        self._account = account_of(config)
        # Closing the terminal ends the registry; without a terminal SIGHUP asks for new workers.
        is_attended = sys.stdin is not None and sys.stdin.isatty()
        self._stop = StopSignal(on_hangup=None if is_attended else self._reload)
        self._watched: list[_Watched] = []
        self._is_ready = False
        self._written = [config.run_dir / "database.url", config.run_dir / "redis.url"]

    def run(self) -> int:
        """Start, watch, stop."""
        with self._stop:
            try:
                return self._run()
            finally:
                self._end()

    def _run(self) -> int:
        self._start_stores()
        is_first_boot = not self._password_file.exists()
        code = self._migrate()
        if code != 0 or self._stop.is_set:
            return code
        for name, command in self._commands.items():
            self._start(PortolanProcess(name, main=command, grace_s=self._config.shutdown_grace_s))
        return self._watch(is_first_boot=is_first_boot)

    def _reload(self) -> None:
        """Make `serve` replace its workers."""
        for watched in self._watched:
            if watched.service.name == "serve" and isinstance(watched.service, PortolanProcess):
                logger.info("replacing the workers of serve")
                watched.service.reload()

    @property
    def _password_file(self) -> Path:
        return self._config.secrets_dir / ADMIN_PASSWORD_FILE

    def _start_stores(self) -> None:
        if self._config.database_url is None:
            self._share("database", str(self._start(EmbeddedPostgres(self._config.data, preferred=self._account))))
        if self._config.redis_url is None:
            self._share("redis", str(self._start(EmbeddedValkey(self._config.data, account=self._account))))

    def _share(self, kind: str, url: str) -> None:
        """Share addresses with the children by environment, and with commands typed elsewhere by a file that only this
        account can read."""
        os.environ[f"PORTOLAN_{kind.upper()}_URL"] = url
        get_config.cache_clear()
        write_secret(self._config.run_dir / f"{kind}.url", url)

    def _start(self, service: Service) -> object:
        self._watched.append(_Watched(service, started=time.monotonic()))
        result = service.start()
        self._record()
        return result

    def _record(self) -> None:
        with contextlib.suppress(OSError):  # it only serves the clean-up after us
            self._pid_file.record({watched.service.name: watched.service.group for watched in self._watched})

    def _migrate(self) -> int:
        """Bring the database up to date; returns an exit code if that fails with a reason already printed. Raises
        StartFailed."""
        process = spawn(portolan_command("migrate"), death_signal=signal.SIGTERM, account=self._account)
        preload(is_worker=True)  # meanwhile
        while process.poll() is None:
            if self._stop.wait(_POLL_S / 4):
                end(process, steps=[(signal.SIGTERM, self._config.shutdown_grace_s)])
                return 0
        if process.returncode not in {0, *_SAID_WHY}:
            raise StartFailed(f"`portolan migrate` failed with code {process.returncode}; its reason is above")
        return process.returncode

    def _watch(self, *, is_first_boot: bool) -> int:
        while not self._stop.wait(_POLL_S):
            for watched in self._watched:
                if self._look_after(watched) in _SAID_WHY:
                    return _CONFIGURATION
            if not self._is_ready and self._answers():
                self._is_ready = True
                announce(self._config, is_first_boot=is_first_boot)
        return 0

    def _answers(self) -> bool:
        return answers(self._config.host, self._config.port, is_https=self._config.serves_tls)

    def _look_after(self, watched: _Watched) -> int | None:
        """Restart it if it has ended; returns its exit code if it never ran and restarting will not help."""
        now = time.monotonic()
        if watched.restart_at is not None:
            if now >= watched.restart_at:
                self._restart(watched)
        elif (code := watched.service.exit_code()) is not None:
            if code in _SAID_WHY and not self._is_ready:
                return code
            self._plan_restart(watched, reason=f"ended with code {code}")
        return None

    def _plan_restart(self, watched: _Watched, *, reason: str) -> None:
        now = time.monotonic()
        watched.failures = 1 if now - watched.started > _STABLE_S else watched.failures + 1
        if not self._is_ready and watched.failures >= _TRIES_BEFORE_READY:
            raise StartFailed(f"{watched.service.name} {reason}, {watched.failures} times; its reason is above")
        delay_s = min(_BACKOFF_FIRST_S * 2 ** (watched.failures - 1), _BACKOFF_MAX_S)
        watched.restart_at = now + delay_s
        logger.error("process ended, restarting", process=watched.service.name, reason=reason, delay_s=delay_s)

    def _restart(self, watched: _Watched) -> None:
        watched.restart_at, watched.started = None, time.monotonic()
        try:
            watched.service.stop()
            watched.service.start()
        except (OSError, SupervisorError, psycopg.Error) as error:
            self._plan_restart(watched, reason=str(error))
        else:
            self._record()
            logger.info("process restarted", process=watched.service.name)

    def _end(self) -> None:
        for watched in reversed(self._watched):
            watched.service.stop()
        for path in self._written:
            path.unlink(missing_ok=True)


def _show_data(config: Config) -> None:
    """Re-execute with PORTOLAN_DATA in the environment if it is missing: the children, which inherit it, are found by
    it after a kill."""
    if os.environ.get("PORTOLAN_DATA") != str(config.data):
        os.environ["PORTOLAN_DATA"] = str(config.data)
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 the very command that was given


def answers(host: str, port: int, *, is_https: bool = False) -> bool:
    """Whether the registry answers `GET /v2/` on `host`:`port`, with or without requiring authentication."""
    # Not with urllib: calling its functions would write to memory that the children share.
    target, timeout_s = _reachable(host), 2
    connection = (
        http.client.HTTPSConnection(target, port, timeout=timeout_s, context=_of_this_machine())
        if is_https
        else http.client.HTTPConnection(target, port, timeout=timeout_s)
    )
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status in {200, 401}
    except (OSError, http.client.HTTPException):  # nothing there, or another protocol
        return False
    finally:
        connection.close()


def announce(config: Config, *, is_first_boot: bool) -> None:
    """Print where the registry is and how to sign in."""
    url = config.external_url or _url(config)
    lines = [
        f"Portolan is ready at {url}",
        f"  sign in as admin {_how_to_sign_in(config, is_first_boot=is_first_boot)}",
        f"  docker login {urlsplit(url).netloc} -u admin",
    ]
    if config.serves_tls and config.tls_cert is None:
        lines.append(f"  clients must trust the CA in {authority_path(config)}: portolan tls trust --for docker")
        lines.append("    (also: podman, containerd, kubernetes, system); portolan tls check URL explains a refusal")
    with contextlib.suppress(OSError):  # a full disk or a closed pipe is no reason to end
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()


def _url(config: Config) -> str:
    """The URL for people if none is configured: by the first name of the certificate, else the machine's."""
    name = config.hostname[0] if config.hostname and config.serves_tls else config.host
    scheme, usual_port = ("https", 443) if config.serves_tls else ("http", 80)
    port = "" if config.port == usual_port else f":{config.port}"
    return f"{scheme}://{_reachable(name, is_for_people=True)}{port}"


def _of_this_machine() -> ssl.SSLContext:
    """Accepts any certificate: the request only checks whether our own server is up, and contains no secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the default one reads all authorities of the system
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _how_to_sign_in(config: Config, *, is_first_boot: bool) -> str:
    path = config.secrets_dir / ADMIN_PASSWORD_FILE
    if not path.exists():
        return "with the password that you set"
    if is_first_boot:
        return f"with the password {path.read_text('utf-8').strip()} (kept in {path})"
    return f"with the password in {path}, unless it was changed"


def _reachable(host: str, *, is_for_people: bool = False) -> str:
    """`host` as a client of this machine writes it in a URL. Docker uses plain HTTP for `localhost` only."""
    if host in {"0.0.0.0", "::", ""}:  # noqa: S104 - compared, not listened on
        return "localhost" if is_for_people else ("[::1]" if host == "::" else "127.0.0.1")
    if host == "127.0.0.1" and is_for_people:
        return "localhost"
    return f"[{host}]" if ":" in host else host
