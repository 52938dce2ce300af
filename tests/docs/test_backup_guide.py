"""The commands of "Backup and restore" in docs/admin-guide.md, run on a real `portolan up` with old objects."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from registry_core.wiring.supervisor.pgbinaries import server_programs
from tests.registry_core.test_up import Up
from tests.support.registry import MANIFEST_TYPE, Image, digest_of, make_image, push_blob
from tests.support.server import PORTOLAN

GUIDE = Path(__file__).parents[2] / "docs" / "admin-guide.md"
REPOSITORY = "library/backed-up"


def blocks(heading: str) -> list[str]:
    """The shell commands under a heading of the guide."""
    text = GUIDE.read_text().partition(f"\n### {heading}\n")[2]
    found: list[str] = re.findall(r"^```sh\n(.*?)^```$", re.split(r"^##", text, flags=re.MULTILINE)[0], re.M | re.S)
    assert found, f"the guide has no commands under {heading!r}"
    return found


@dataclass
class Machine:
    """A machine with `portolan up`, a folder for backups, and somebody who types what the guide says."""

    up: Up
    backup: Path

    @property
    def data(self) -> Path:
        return self.up.data

    def type(self, commands: str, *, exit_code: int = 0) -> str:
        """Run commands as they stand in the guide; what they print, errors included."""
        programs = server_programs(run_dir=Path(), account=None)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PORTOLAN_")}
        environment = inherited | {
            "PATH": f"{PORTOLAN.parent}:{programs}:{os.environ['PATH']}",
            "DATA": str(self.data),
            "BACKUP": str(self.backup),
            "PORTOLAN_DATA": str(self.data),
            "PORTOLAN_CONFIG": os.devnull,
        }
        done = subprocess.run(
            ["bash", "-c", f"set -euo pipefail\n{commands}"],
            env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == exit_code, f"{commands}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def start(self) -> None:
        self.up.start()

    def stop(self) -> None:
        assert self.up.end() == 0

    def restart(self) -> None:
        self.stop()
        self.start()

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.up.port}", auth=("admin", self._password()), timeout=60)

    def push(self) -> Image:
        image = make_image(layer_bytes=3000)
        with self.client() as client:
            for blob in image.blobs:
                push_blob(client, REPOSITORY, blob)
            url = f"/v2/{REPOSITORY}/manifests/{image.digest}"
            client.put(url, content=image.manifest, headers={"content-type": MANIFEST_TYPE}).raise_for_status()
        return image

    def has(self, image: Image) -> bool:
        with self.client() as client:
            got = [client.get(f"/v2/{REPOSITORY}/blobs/{digest_of(blob)}") for blob in image.blobs]
        return [answer.content for answer in got] == list(image.blobs)

    def make_old(self) -> int:
        """All objects were written long ago; how many there are."""
        objects = list((self.data / "objects").glob("[0-9a-f][0-9a-f]/*"))
        for path in objects:
            os.utime(path, (0, 0))
        return len(objects)

    def sweeps_on(self) -> None:
        """What a push leaves that died is swept, and nothing else."""
        name = secrets.token_hex(16)
        left = self.data / "objects" / name[:2] / name
        left.write_bytes(b"left behind")
        before = self.make_old()
        self.type("portolan storage sweep")
        assert (self.make_old(), left.exists()) == (before - 1, False)

    def _password(self) -> str:
        # Of the first database: a dump brings the one that it was made with.
        saved = self.backup / "secrets" / "admin.password"
        return (saved if saved.exists() else self.data / "secrets" / "admin.password").read_text().strip()


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A running registry, in a folder that an unprivileged account can come to."""
    folder = Path(tempfile.mkdtemp(prefix="portolan-backup-"))
    folder.chmod(0o711)
    (folder / "backup").mkdir()
    made = Machine(Up(folder / "data"), folder / "backup")
    made.start()
    yield made
    if made.up.process is not None and made.up.process.poll() is None:
        made.up.end(by=signal.SIGTERM)
    shutil.rmtree(folder)


def test_a_copy_of_the_stopped_registry_is_put_back(machine: Machine) -> None:
    copy, put_back = blocks("With the registry stopped")
    image = machine.push()
    machine.stop()
    machine.type(copy)
    shutil.rmtree(machine.data)
    machine.type(put_back)
    machine.start()
    assert machine.has(image)
    machine.make_old()
    machine.type(blocks("Restore everything")[-1])
    machine.sweeps_on()


def test_a_running_registry_is_backed_up_and_restored_in_every_way_of_the_guide(machine: Machine) -> None:
    (backup,) = blocks("While it runs")
    files, load, look = blocks("Restore everything")
    kept = machine.push()
    machine.type(backup)
    later = machine.push()

    # Everything is lost, and the dump is loaded late.
    machine.stop()
    shutil.rmtree(machine.data)
    machine.type(files)
    machine.start()
    count = machine.make_old()
    assert "this database to none" in machine.type("portolan storage sweep", exit_code=1)
    assert machine.make_old() == count
    machine.type(load)
    machine.restart()
    machine.type(look)
    assert machine.has(kept)
    machine.sweeps_on()

    # The database is lost, and older than the objects.
    newer = machine.push()
    machine.type(load)
    machine.restart()
    count = machine.make_old()
    first, *steps = blocks("Restore the database alone")
    said = machine.type(first)
    assert machine.make_old() == count
    assert "portolan storage adopt" in said
    for commands in steps:
        machine.type(commands)
    assert machine.has(kept)
    assert not machine.has(newer)
    assert machine.make_old() == count - 2
    machine.sweeps_on()

    # Objects are lost.
    machine.type(backup)
    lost = machine.push()
    shutil.rmtree(machine.data / "objects")
    machine.type('cp --archive "$BACKUP/objects" "$DATA"')
    (repair,) = blocks("Restore objects alone")
    assert machine.type(repair).count("quarantined sha256:") == 2
    assert not machine.has(lost)
    assert not machine.has(later)
    assert machine.has(kept)
