"""Root starts it, and an account without rights runs it: ports, folders and keys."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from registry_core.machine.processes import spawn
from registry_core.wiring.supervisor.ports import free_port
from tests.support.open_python import reachable
from tests.support.server import PORTOLAN
from tests.support.waiting import wait_until
from tests.tls.certificates import Company, write

NOBODY = pwd.getpwnam("nobody")
WITHIN_S = 120.0

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every account can come to; pytest closes its own to others."""
    made = Path(tempfile.mkdtemp(prefix="portolan-run-as-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def environment(folder: Path, **variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PORTOLAN_")}
    ours = {"CONFIG": os.devnull, "DATA": str(folder / "data"), "RUN_AS": "nobody"} | variables
    return inherited | {f"PORTOLAN_{name}": value for name, value in ours.items() if value}


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        reachable([str(PORTOLAN), *arguments], scratch=folder), env=environment(folder, **variables),
        capture_output=True, text=True, timeout=WITHIN_S, check=False,
    )  # fmt: skip


def owners(folder: Path) -> set[str]:
    return {path.owner() for path in [folder, *folder.rglob("*")] if path.exists()}


def test_up_opens_its_ports_as_root_and_runs_everything_as_the_account(folder: Path) -> None:
    tls_port, http_port = _low_ports()
    variables = {"PORT": str(tls_port), "HTTP_PORT": str(http_port), "TLS": "true"}
    log_path = folder / "up.log"
    with log_path.open("wb") as log:
        command = reachable([str(PORTOLAN), "up"], scratch=folder)
        process = spawn(command, death_signal=signal.SIGTERM, env=environment(folder, **variables), log=log)
    try:
        wait_until(lambda: "is ready at" in log_path.read_text(), what="it is ready", within_s=WITHIN_S)
        assert httpx.get(f"https://localhost:{tls_port}/api/v2.0/ping", verify=False, timeout=60).text == "Pong"  # noqa: S501
        assert httpx.get(f"http://localhost:{http_port}/sign-in", timeout=60).status_code == 308
        children = psutil.Process(process.pid).children(recursive=True)
        assert {child.username() for child in children} == {"nobody"}
        assert {name for child in children if (name := child.name()).startswith("portolan")} == {
            "portolan-serve", "portolan-worker",
        }  # fmt: skip
        for child in children:
            assert child.uids() == (NOBODY.pw_uid,) * 3
        assert "running as root" not in log_path.read_text()
        serve = next(child for child in children if child.name() == "portolan-serve")
        serve.kill()
        wait_until(lambda: "process restarted" in log_path.read_text(), what="serve comes back", within_s=WITHIN_S)
        wait_until(lambda: _answers(tls_port), what="it answers again", within_s=WITHIN_S)
        assert owners(folder / "data") <= {"nobody", "root"}
        assert (folder / "data" / "secrets").owner() == "nobody"
    finally:
        process.terminate()
        process.wait(WITHIN_S)


def test_folders_that_root_made_before_are_handed_over(folder: Path) -> None:
    for name in ("secrets", "objects/ab", "journal", "run"):
        (folder / "data" / name).mkdir(parents=True)
        (folder / "data" / name / "file").write_text("x")
    (folder / "data" / "postgres").mkdir()
    done = run(folder, "keys", "rotate")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (folder / "data").rglob("*") if path.owner() == "root"} == {"postgres"}


def test_key_that_root_makes_in_the_folder_of_an_account_belongs_to_it(folder: Path) -> None:
    """Also without the setting: `sudo portolan keys rotate` where the registry runs as an ordinary user."""
    (folder / "data").mkdir()
    os.chown(folder / "data", NOBODY.pw_uid, NOBODY.pw_gid)
    for _ in range(2):
        done = run(folder, "keys", "rotate", RUN_AS="")
        assert done.returncode == 0, done.stderr
    assert owners(folder / "data") == {"nobody"}


def test_key_of_the_certificate_that_the_account_may_not_read_is_named(folder: Path) -> None:
    company = Company()
    files = write(folder / "tls", [company.server(), company.intermediate])
    for path in files.cert, files.key:
        path.chmod(0o600)
    done = run(folder, "up", TLS_CERT=str(files.cert), TLS_KEY=str(files.key), PORT=str(free_port()))
    assert done.returncode == 3
    assert "run_as: the account nobody may not read" in done.stderr


def test_data_behind_a_closed_folder_is_refused_by_name(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    (closed / "data").mkdir()
    done = run(folder, "keys", "rotate", DATA=str(closed / "data"))
    assert done.returncode == 3
    assert f"may not enter {closed}" in done.stderr


def test_python_behind_a_closed_folder_is_refused_by_name_before_anything_is_made(folder: Path) -> None:
    """As of an environment that root made with a Python of its home folder: nothing could be imported later."""
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    code = (
        f"import sys; sys.base_prefix = {str(closed / 'python')!r}; from registry_core.wiring.cli import main; main()"
    )
    done = subprocess.run(
        reachable([sys.executable, "-c", code, "check"], scratch=folder), env=environment(folder),
        capture_output=True, text=True, timeout=WITHIN_S, check=False,
    )  # fmt: skip
    assert (done.returncode, f"may not enter {closed}" in done.stderr) == (3, True), done.stderr
    assert "install Portolan in a folder that everybody may enter" in done.stderr
    assert not (folder / "data").exists()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"https://localhost:{port}/api/v2.0/ping", verify=False, timeout=5).status_code == 200  # noqa: S501
    except httpx.TransportError:
        return False


def _low_ports() -> tuple[int, int]:
    """Two ports below 1024, for which root is needed, on which nobody listens."""
    found: list[int] = []
    for port in range(1023, 600, -1):
        try:
            with socket.create_server(("127.0.0.1", port)):
                found.append(port)
        except OSError:
            continue
        if len(found) == 2:
            break
    return found[0], found[1]
