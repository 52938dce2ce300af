"""`portolan up` with real processes: starting, staying up, ending, and what a kill -9 leaves."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from registry_core.config.accounts import Account
from registry_core.machine.processes import spawn
from registry_core.machine.secretfiles import write_secret
from registry_core.wiring.supervisor.accounts import require_reachable, unprivileged_account
from registry_core.wiring.supervisor.errors import AlreadyRunning, PortBusy, SupervisorError, WrongPassword
from registry_core.wiring.supervisor.pidfile import PidFile
from registry_core.wiring.supervisor.ports import free_port, require_free
from registry_core.wiring.supervisor.postgres import EmbeddedPostgres
from registry_core.wiring.supervisor.up import answers
from registry_core.wiring.supervisor.valkey import EmbeddedValkey
from tests.support.server import PORTOLAN
from tests.support.waiting import wait_until

START_WITHIN_S = 90.0
STOP_WITHIN_S = 60.0


@pytest.fixture
def data() -> Iterator[Path]:
    """A data directory that an unprivileged account can come to; pytest closes its own to others, again and again."""
    folder = Path(tempfile.mkdtemp(prefix="portolan-up-"))
    folder.chmod(0o711)
    yield folder / "data"
    shutil.rmtree(folder)


class Up:
    """One `portolan up` under test."""

    def __init__(self, data: Path) -> None:
        self.data, self.port = data, free_port()
        self.log_path = data.with_name("up.log")
        self.options: tuple[str, ...] = ()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return when it said that it is ready."""
        self.log_path.write_bytes(b"")
        self.process = self.spawn()
        wait_until(self._is_ready, what="portolan up is ready", within_s=START_WITHIN_S)

    def spawn(self, **environment: str) -> subprocess.Popen[bytes]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PORTOLAN_")}
        env = inherited | {
            "PORTOLAN_DATA": str(self.data),
            "PORTOLAN_PORT": str(self.port),
            "PORTOLAN_CONFIG": os.devnull,
        }
        with self.log_path.open("ab") as log:
            return spawn([PORTOLAN, "up", *self.options], death_signal=signal.SIGTERM, env=env | environment, log=log)

    def end(self, *, by: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code."""
        assert self.process is not None
        self.process.send_signal(by)
        return self.process.wait(STOP_WITHIN_S)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def children(self) -> dict[str, int]:
        """The pids of the supervised processes, as the pid file names them."""
        lines = (self.data / "run" / "portolan.pid").read_text().splitlines()[1:]
        return {name: int(group) for name, group in (line.split() for line in lines)}

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        return "is ready at" in self.log()


@pytest.fixture
def up(data: Path) -> Iterator[Up]:
    running = Up(data)
    yield running
    if running.process is not None and running.process.poll() is None:
        running.end()


def processes_of(data: Path) -> list[str]:
    """Command lines of everything alive that works on `data`."""
    found = []
    for process in psutil.process_iter():
        try:
            environment, words = process.environ(), process.cmdline()
        except psutil.Error:
            continue
        if environment.get("PORTOLAN_DATA") == str(data) or any(str(data) in word for word in words):
            found.append(" ".join(words))
    return found


def test_up_starts_everything_tells_how_to_sign_in_and_leaves_nothing(up: Up) -> None:
    up.start()
    assert set(up.children()) == {"postgres", "valkey", "serve", "worker"}
    password_file = up.data / "secrets" / "admin.password"
    assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
    assert password_file.read_text().strip() in up.log()
    assert f"docker login localhost:{up.port}" in up.log()
    assert answers("127.0.0.1", up.port)
    assert up.end() == 0
    assert processes_of(up.data) == []
    assert not (up.data / "run" / "portolan.pid").exists()


def test_up_started_again_names_the_password_file_but_not_the_password(up: Up) -> None:
    up.start()
    assert up.end(by=signal.SIGINT) == 0
    up.start()
    password_file = up.data / "secrets" / "admin.password"
    assert str(password_file) in up.log()
    assert password_file.read_text().strip() not in up.log()


def test_second_up_on_the_same_data_is_refused_by_pid(up: Up) -> None:
    up.start()
    second = up.spawn()
    assert second.wait(START_WITHIN_S) == 4
    assert up.process is not None
    assert f"already runs as process {up.process.pid}" in up.log()


@pytest.mark.parametrize("victim", ["serve", "valkey", "postgres", "worker"])
def test_process_that_dies_is_named_and_restarted(up: Up, victim: str) -> None:
    up.start()
    before = up.children()
    os.kill(before[victim], signal.SIGKILL)
    wait_until(
        lambda: up.children().get(victim) not in {before[victim], 0}, what=f"{victim} restarts", within_s=START_WITHIN_S
    )
    wait_until(lambda: answers("127.0.0.1", up.port), what="the registry answers again", within_s=START_WITHIN_S)
    assert "restarting" in up.log()
    assert victim in up.log()


def test_up_keeps_the_clock_of_the_periodic_jobs(up: Up) -> None:
    up.start()
    with psycopg.connect((up.data / "run" / "database.url").read_text().strip(), autocommit=True) as connection:

        def numbered() -> bool:
            row = connection.execute("SELECT max(seq) FROM events_event").fetchone()
            return row is not None and bool(row[0])

        wait_until(numbered, what="the relay numbers the first events", within_s=START_WITHIN_S)


def test_processes_share_the_memory_of_what_they_have_imported(up: Up) -> None:
    up.start()
    assert up.process is not None
    children = [psutil.Process(pid) for name, pid in up.children().items() if name in {"serve", "worker"}]
    family = [psutil.Process(up.process.pid), *children, *children[0].children(), *children[1].children()]
    used = [process.memory_full_info() for process in family]
    assert len(used) == 5
    assert sum(each.pss for each in used) < 0.5 * sum(each.rss for each in used)


def test_hangup_replaces_the_workers_and_stops_nothing(up: Up) -> None:
    up.start()
    serve = psutil.Process(up.children()["serve"])
    before = {child.pid for child in serve.children()}
    assert up.process is not None
    up.process.send_signal(signal.SIGHUP)
    wait_until(lambda: not before & {child.pid for child in serve.children()}, what="others serve", within_s=60)
    assert answers("127.0.0.1", up.port)
    assert up.children()["serve"] == serve.pid
    assert up.end() == 0


def test_lost_password_of_the_embedded_postgres_is_made_anew(data: Path) -> None:
    server = EmbeddedPostgres(data)
    server.start()
    server.stop()
    for name in ("postgres.password", "database.password"):
        (data / "secrets" / name).unlink()
    with psycopg.connect(server.start()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    server.stop()


def test_wrong_password_of_the_embedded_postgres_is_said_at_once(data: Path) -> None:
    server = EmbeddedPostgres(data)
    server.start()
    server.stop()
    write_secret(data / "secrets" / "postgres.password", "another")
    with pytest.raises(WrongPassword, match=r"put back the file .* or remove it"):
        server.start()


def test_up_that_was_killed_leaves_nothing_in_the_way_of_the_next(up: Up) -> None:
    up.start()
    up.end(by=signal.SIGKILL)
    up.start()
    assert answers("127.0.0.1", up.port)
    assert up.end() == 0
    assert processes_of(up.data) == []


def test_up_on_a_busy_port_names_the_setting(up: Up) -> None:
    with socket.create_server(("127.0.0.1", up.port)):
        assert up.spawn().wait(START_WITHIN_S) == 5
    assert "PORTOLAN_PORT" in up.log()
    assert not (up.data / "postgres").exists()


def test_stores_that_are_configured_are_not_embedded(up: Up) -> None:
    url = f"postgresql://ada:x@127.0.0.1:{free_port()}/none"
    process = up.spawn(PORTOLAN_DATABASE_URL=url, PORTOLAN_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert process.wait(START_WITHIN_S) == 1
    assert not (up.data / "postgres").exists()
    assert not (up.data / "run" / "valkey").exists()


def test_embedded_postgres_keeps_its_data_and_runs_durable(data: Path) -> None:
    server = EmbeddedPostgres(data)
    with psycopg.connect(server.start()) as connection:
        connection.execute("CREATE TABLE chart (name text)")
        shown = {name: connection.execute(f"SHOW {name}").fetchone() for name in ("fsync", "full_page_writes")}
        assert connection.execute("SELECT 'B' < 'a' AND lower('É') = 'é'").fetchone() == (True,)
        assert connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (False,)
    server.stop()
    assert shown == {"fsync": ("on",), "full_page_writes": ("on",)}
    with psycopg.connect(server.start()) as connection:
        assert connection.execute("SELECT count(*) FROM chart").fetchone() == (0,)
    server.stop()


def test_embedded_postgres_takes_over_from_one_that_was_left_behind(data: Path) -> None:
    left_behind, next_one = EmbeddedPostgres(data), EmbeddedPostgres(data)
    left_behind.start()
    try:
        with psycopg.connect(next_one.start()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert left_behind.exit_code() is not None
    finally:
        next_one.stop()
        left_behind.stop()


def test_embedded_postgres_starts_despite_the_pid_file_of_another_program(data: Path) -> None:
    server = EmbeddedPostgres(data)
    server.start()
    server.stop()
    (data / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n{data}/postgres\n")
    server.start()
    server.stop()


def test_embedded_postgres_repairs_a_cluster_that_was_half_made(data: Path) -> None:
    (data / ".postgres.new").mkdir(parents=True)
    (data / ".postgres.new" / "PG_VERSION").write_text("18")
    server = EmbeddedPostgres(data)
    server.start()
    server.stop()


def test_embedded_postgres_manages_a_path_too_long_for_a_socket(data: Path) -> None:
    server = EmbeddedPostgres(data / ("long" * 30))
    server.start()
    server.stop()


def test_no_mode_outside_the_data_directory_changes(data: Path) -> None:
    before = {directory: directory.stat().st_mode for directory in data.parents}
    server = EmbeddedPostgres(data)
    server.start()
    server.stop()
    assert {directory: directory.stat().st_mode for directory in data.parents} == before


def test_embedded_valkey_asks_for_its_password(data: Path) -> None:
    server = EmbeddedValkey(data)
    url = server.start()
    with redis.Redis.from_url(url) as client, redis.Redis(port=server.port) as stranger:
        assert client.ping()
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()
    server.stop()


def test_pid_file_is_held_once_and_taken_over_from_the_dead(tmp_path: Path) -> None:
    path = tmp_path / "portolan.pid"
    path.write_text("999999 1\npostgres 999998\n")
    with PidFile(path) as held:
        assert held.leftover_groups == [999_998]
        with pytest.raises(AlreadyRunning, match=str(os.getpid())), PidFile(path):
            pass
    assert not path.exists()


def test_busy_port_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(PortBusy, match="PORTOLAN_PORT"):
        require_free("127.0.0.1", listener.getsockname()[1])


def test_data_behind_a_closed_directory_is_refused_by_name(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    stranger = Account(name="stranger", uid=54_321, gid=54_321, groups=())
    with pytest.raises(SupervisorError, match="PORTOLAN_DATA"):
        require_reachable(stranger, closed / "data")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_runs_postgres_as_somebody_else(data: Path) -> None:
    account = unprivileged_account(owner_of=data / "postgres")
    assert account is not None
    assert account.uid != 0


def test_up_with_tls_serves_https_and_tells_how_to_trust_it(up: Up) -> None:
    up.options = ("--tls",)
    up.start()
    assert answers("127.0.0.1", up.port, is_https=True)
    assert not answers("127.0.0.1", up.port)
    assert f"ready at https://localhost:{up.port}" in up.log()
    assert f"the CA in {up.data / 'tls' / 'ca.crt'}: portolan tls trust --for docker" in up.log()
    assert up.end() == 0
