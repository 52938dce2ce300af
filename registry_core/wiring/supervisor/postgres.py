"""The embedded PostgreSQL: one cluster in DATA/postgres, run by the wheel's own programs.

Usable without the command line: `EmbeddedPostgres(data).start()` gives the URL of its database.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psycopg
from psycopg import sql

from registry_core.config.accounts import Account
from registry_core.logs import get_logger
from registry_core.machine.durable import make_folder
from registry_core.machine.processes import end, is_alive, spawn, wait_gone
from registry_core.machine.secretfiles import read_or_create_secret
from registry_core.wiring.supervisor.accounts import require_reachable, unprivileged_account
from registry_core.wiring.supervisor.errors import StartFailed, WrongPassword
from registry_core.wiring.supervisor.pgbinaries import server_programs
from registry_core.wiring.supervisor.ports import free_port

DATABASE = "portolan"
SUPERUSER_PASSWORD = "postgres.password"  # noqa: S105 - the name of a file
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
_QUIT_TIMEOUT_S = 10.0
_ORPHANS_END_WITHIN_S = 10.0
_POLL_S = 0.02
_SOCKET_PATH_LIMIT = 100  # sun_path holds 108 bytes, of which the file name takes some

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "128MB",
    "max_connections": "400",  # each of our processes may use `database_pool_max`, a serve worker three times that
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_messages": "warning",
    "log_line_prefix": "postgres[%p] ",
}


logger = get_logger("portolan.up")


class EmbeddedPostgres:
    """A PostgreSQL server that ends with this process. `port` stays the same over a restart of the server."""

    name = "postgres"

    def __init__(self, data: Path, *, log: IO[bytes] | None = None, preferred: Account | None = None) -> None:
        """`preferred`: the account for a new cluster if root starts it; existing clusters keep their account."""
        self._data = data.absolute()
        self._cluster = self._data / "postgres"
        self._run = self._data / "run"
        self._log = log
        self._preferred = preferred
        self._account: Account | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> str:
        """Start the server, creating cluster, role and database the first time; returns the URL of the database.

        Ends a server that a killed run left on the same cluster. Raises SupervisorError.
        """
        self._account = unprivileged_account(owner_of=self._cluster, preferred=self._preferred)
        self._prepare_directories()
        programs = server_programs(run_dir=self._run, account=self._account)
        if not (self._cluster / "PG_VERSION").exists():
            self._initialize(programs)
        _end_orphan(self._cluster)
        if not self._superuser_file.exists():
            self._renew_superuser_password(programs)
        self.port = self.port or free_port()
        try:
            self._ensure_database(self._launch_patiently(programs))
        except BaseException:
            self.stop()
            raise
        return f"postgresql://{DATABASE}:{self._secret('database.password')}@127.0.0.1:{self.port}/{DATABASE}"

    def _launch_patiently(self, programs: Path) -> "psycopg.Connection[tuple[object, ...]]":
        """Launch, with retries for a while: the children of a killed server hold its shared memory until they
        notice."""
        deadline = time.monotonic() + _ORPHANS_END_WITHIN_S
        while True:
            self._process = self._launch(programs)
            try:
                return self._await_ready(self._process)
            except WrongPassword:
                raise
            except StartFailed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_S)

    def stop(self) -> None:
        """Fast shutdown: sessions are terminated, everything committed is on disk. Does nothing if it is not
        running."""
        if self._process is not None:
            end(self._process, steps=[(signal.SIGINT, STOP_TIMEOUT_S), (signal.SIGQUIT, _QUIT_TIMEOUT_S)])
            self._process = None

    def exit_code(self) -> int | None:
        """How the server ended, or None while it is running."""
        return self._process.poll() if self._process is not None else 0

    @property
    def group(self) -> int:
        """The server's process group, 0 if it is not running."""
        return self._process.pid if self._process is not None else 0

    def _prepare_directories(self) -> None:
        if self._account is not None:
            require_reachable(self._account, self._data)
        make_folder(self._run)
        for directory in (self._data, self._run):
            if self._account is not None and not self._account.can_enter(directory):
                directory.chmod(directory.stat().st_mode | 0o011)

    def _initialize(self, programs: Path) -> None:
        """Create the cluster under another name and rename it when complete, so that a kill leaves nothing half
        made."""
        draft = self._data / ".postgres.new"
        shutil.rmtree(draft, ignore_errors=True)
        self._own_directory(draft)
        with self._password_file() as password_file:
            command: list[str | Path] = [
                programs / "initdb", f"--pgdata={draft}", "--username=postgres", f"--pwfile={password_file}",
                "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8", "--no-instructions",
            ]  # fmt: skip
            self._run_initdb(command)
        draft.rename(self._cluster)

    def _run_initdb(self, command: list[str | Path]) -> None:
        with tempfile.TemporaryFile() as output:
            process = spawn(command, death_signal=signal.SIGKILL, account=self._account, log=output, env=_environment())
            if process.wait() != 0:
                output.seek(0)
                tail = output.read().decode("utf-8", "replace").strip()[-2000:]
                raise StartFailed(f"initdb could not make the database cluster in {self._cluster}: {tail}")

    def _renew_superuser_password(self, programs: Path) -> None:
        """Give the superuser a new password if its file was lost: single-user mode needs none."""
        logger.warning("the embedded PostgreSQL's password was lost, creating another", file=str(self._superuser_file))
        statement = f"ALTER ROLE postgres PASSWORD '{self._secret(SUPERUSER_PASSWORD)}'"
        with tempfile.TemporaryFile() as output:
            process = spawn(
                [programs / "postgres", "--single", "-D", self._cluster, "postgres"],
                death_signal=signal.SIGINT, account=self._account, log=output, env=_environment(),
                input_text=f"{statement}\n",
            )  # fmt: skip
            if process.wait() != 0:
                self._superuser_file.unlink(missing_ok=True)  # so that the next start tries again
                output.seek(0)
                tail = output.read().decode("utf-8", "replace").strip()[-500:]
                raise StartFailed(f"{self._superuser_file} was lost, and another could not be made: {tail}")

    @property
    def _superuser_file(self) -> Path:
        return self._data / "secrets" / SUPERUSER_PASSWORD

    @contextlib.contextmanager
    def _password_file(self) -> Iterator[Path]:
        """The superuser's password in a file that initdb, under another account, can read; removed afterwards."""
        directory = self._own_directory(self._run / "initdb")
        file = directory / "password"
        try:
            file.touch(mode=0o600)
            file.write_text(self._secret(SUPERUSER_PASSWORD))
            self._give_away(file)
            yield file
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _own_directory(self, path: Path) -> Path:
        path.mkdir(mode=0o700, exist_ok=True)
        self._give_away(path)
        return path

    def _give_away(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid)

    def _launch(self, programs: Path) -> subprocess.Popen[bytes]:
        settings = {
            **_SETTINGS,
            "port": str(self.port),
            "unix_socket_directories": str(self._socket_directory()),
        }
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return spawn(
            [programs / "postgres", "-D", self._cluster, *options],
            death_signal=signal.SIGINT,
            account=self._account,
            log=self._log,
            env=_environment(),
        )

    def _socket_directory(self) -> Path:
        directory = self._run / "postgres"
        if len(str(directory)) > _SOCKET_PATH_LIMIT - len("/.s.PGSQL.65535.lock"):
            directory = Path(tempfile.gettempdir()) / f"portolan-pg-{os.getpid()}"
        return self._own_directory(directory)

    def _await_ready(self, process: subprocess.Popen[bytes]) -> "psycopg.Connection[tuple[object, ...]]":
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                return self._connect_as_superuser()
            except psycopg.OperationalError as error:
                if process.poll() is not None:
                    raise StartFailed(f"the embedded PostgreSQL ended at once with code {process.returncode}") from None
                if "authentication failed" in str(error):
                    raise WrongPassword(
                        f"the embedded PostgreSQL does not take the password in {self._superuser_file}: put back the "
                        "file that belongs to this DATA, or remove it to create another password"
                    ) from None
                if time.monotonic() > deadline:
                    raise StartFailed(f"the embedded PostgreSQL does not accept connections: {error}") from None
            time.sleep(_POLL_S)

    def _connect_as_superuser(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(
            host="127.0.0.1", port=self.port, dbname="postgres", user="postgres", autocommit=True, connect_timeout=5,
            password=self._secret(SUPERUSER_PASSWORD),
        )  # fmt: skip

    def _ensure_database(self, connection: "psycopg.Connection[tuple[object, ...]]") -> None:
        """The registry's role owns its database and may create others (tests do), and is not superuser."""
        role, password = sql.Identifier(DATABASE), sql.Literal(self._secret("database.password"))
        with connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [DATABASE]).fetchone():
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB").format(role))
            connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, password))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))

    def _secret(self, name: str) -> str:
        return read_or_create_secret(self._data / "secrets" / name, make=lambda: secrets.token_urlsafe(24))


def _end_orphan(cluster: Path) -> None:
    """Stop the server of a killed run on `cluster`; drop its pid file if that number belongs to another program by
    now."""
    lock = cluster / "postmaster.pid"
    try:
        pid = int(lock.read_text().split("\n")[0])
    except (OSError, ValueError):
        return
    if not is_alive(pid):
        return
    if not _serves(pid, cluster):
        lock.unlink(missing_ok=True)
        return
    for step, patience_s in ((signal.SIGINT, STOP_TIMEOUT_S), (signal.SIGQUIT, _QUIT_TIMEOUT_S)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, step)
        if wait_gone(pid, patience_s=patience_s):
            return
    raise StartFailed(f"another PostgreSQL (process {pid}) uses {cluster} and does not end: stop it by hand")


def _serves(pid: int, cluster: Path) -> bool:
    """Whether `pid` is a PostgreSQL of `cluster`: a postmaster works in its data directory."""
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd")) == cluster.resolve()
    except OSError:
        return True


def _environment() -> dict[str, str]:
    """No PG* variables and no secrets: just enough for PostgreSQL's programs to run."""
    return {key: value for key, value in os.environ.items() if key in {"PATH", "TMPDIR", "LD_LIBRARY_PATH"}} | {
        "LC_ALL": "C",
        "TZ": "UTC",
    }
