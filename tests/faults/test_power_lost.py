"""The power fails while images come in, on a disk that forgets what was not flushed: what was acknowledged is there.

Each cut ends every process of the registry and of Postgres at once, and takes back what the store's disk was not asked
to keep: on every other cut all of it, on the others a part, by chance, as a disk does that had begun to write. Then
the machine boots: the same folder, a new boot id.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import tempfile
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from registry_core.wiring.supervisor.postgres import EmbeddedPostgres
from tests.faults.pushing import Log, assert_all_or_nothing, push_until
from tests.faults.test_sweep import storage
from tests.support.extent import IS_FULL
from tests.support.people import admin
from tests.support.registry import TIMEOUT_S, digest_of, make_image, push_blob, sign_in
from tests.support.server import PORTOLAN, Server
from tests.support.tools import tool
from tests.support.volatile_disk import MountedDisk
from tests.support.waiting import wait_until

CUTS = 60 if IS_FULL else 2
PUSHERS = 3
PAUSE_S = (0.0, 2.0)
CHUNK_BYTES = (1 << 10, 300 << 10)
REPOSITORY = "library/app"
SCOPE = f"repository:{REPOSITORY}:pull,push"
# What a process reads of the machine's boot is a file of the test's.
BOOTED = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")


@dataclass
class Machine:
    """A registry, its Postgres, and the disk that its folder lies on."""

    server: Server
    postgres: EmbeddedPostgres
    disk: MountedDisk
    boot_id: Path
    lost_bytes: int = 0
    lost_names: int = 0
    chance: random.Random = field(default_factory=random.Random)

    def boot(self) -> None:
        self.boot_id.write_text(f"{uuid.uuid4()}\n")
        self.postgres.start()
        self.server.start()

    def cut_power(self, *, kept: float) -> None:
        os.killpg(self.postgres.group, signal.SIGKILL)
        self.server.kill()
        self.postgres.stop()
        lost_bytes, lost_names = self.disk.cut(seed=secrets.token_hex(8), kept=kept)
        self.lost_bytes += lost_bytes
        self.lost_names += lost_names


@contextmanager
def machine(tmp_path: Path, *, ignores_fsync: bool = False) -> Iterator[Machine]:
    """A machine that is up, with a store that keeps (or only says that it keeps) what it is asked to."""
    tool("fusermount3")
    folder = Path(tempfile.mkdtemp(prefix="portolan-power-"))
    folder.chmod(0o711)  # Postgres runs as a user of its own when the tests run as root
    disk = MountedDisk(tmp_path / "disk", log=tmp_path / "disk.log", ignores_fsync=ignores_fsync)
    with (folder / "postgres.log").open("wb") as log, disk:
        postgres = EmbeddedPostgres(folder, log=log)
        server = Server(
            data=disk.folder / "data",
            database_url=postgres.start(),
            redis_url=os.environ["PORTOLAN_REDIS_URL"],
            admin_password="Admin-of-one-test-1",
            environment={"PORTOLAN_MACHINE": str(tmp_path / "machine"), "PORTOLAN_WORKERS": "2"},
        )
        server.log_path = tmp_path / "server.log"
        server.command = ["unshare", "--mount", "sh", "-c", BOOTED, str(tmp_path / "boot"), str(PORTOLAN), "serve"]
        try:
            server.migrate()
            made = Machine(server, postgres, disk, tmp_path / "boot")
            made.boot()
            yield made
        finally:
            server.kill()
            postgres.stop()
    shutil.rmtree(folder, ignore_errors=True)


def push_in_chunks_until(over: threading.Event, server: Server, headers: dict[str, str], log: Log) -> None:
    """Push blobs in many requests, each going on where the registry says that it is, also after the power was cut."""
    with httpx.Client(base_url=server.url, headers=headers, timeout=TIMEOUT_S) as client:
        while not over.is_set():
            content, location = secrets.token_bytes(random.randint(1 << 20, 2 << 20)), ""
            while not over.is_set():
                try:
                    location = location or _begin(client)
                    location = _go_on(client, location, content)
                except httpx.HTTPError:
                    over.wait(0.1)
                    continue
                if not location:
                    log.blobs.append(content)
                    break


def _begin(client: httpx.Client) -> str:
    begun = client.post(f"/v2/{REPOSITORY}/blobs/uploads/").raise_for_status()
    return urljoin(str(begun.url), begun.headers["location"])


def _go_on(client: httpx.Client, location: str, content: bytes) -> str:
    """One more chunk, or the end: then "". A new upload's location when this one is not known any more."""
    state = client.get(location)
    if state.status_code == 404:
        return _begin(client)
    last = int(state.raise_for_status().headers["range"].partition("-")[2])
    at = last + 1 if last else 0
    chunk = content[at : at + random.randint(*CHUNK_BYTES)]
    if chunk:
        sent = client.patch(location, content=chunk, headers={"content-range": f"{at}-{at + len(chunk) - 1}"})
        if sent.status_code == 404:
            return _begin(client)
        sent.raise_for_status()
        return location
    done = client.put(location, params={"digest": digest_of(content)})
    assert done.status_code != 400, done.text
    done.raise_for_status()
    return ""


def cut_again_and_again(box: Machine, log: Log, *, times: int) -> dict[str, str]:
    """Cut the power `times` times while clients push; the headers that they used."""
    headers, over = sign_in(box.server, admin(box.server), SCOPE), threading.Event()
    with ThreadPoolExecutor(PUSHERS + 1) as pool:
        pushers = [pool.submit(push_until, over, box.server, REPOSITORY, headers, log) for _ in range(PUSHERS)]
        pushers.append(pool.submit(push_in_chunks_until, over, box.server, headers, log))
        try:
            for number in range(times):
                enough = len(log.blobs) + 2
                wait_until(lambda enough=enough: len(log.blobs) >= enough, what="some are acknowledged")  # type: ignore[misc]
                over.wait(box.chance.uniform(*PAUSE_S))  # the moment is what is random
                box.cut_power(kept=0.5 * (number % 2))
                box.boot()
        finally:
            over.set()
        for pusher in pushers:
            pusher.result()
    return headers


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_with_the_power(tmp_path: Path) -> None:
    log = Log()
    with machine(tmp_path) as box:
        headers = cut_again_and_again(box, log, times=CUTS)
        box.cut_power(kept=0.5)
        box.boot()

        whole = assert_all_or_nothing(box.server, REPOSITORY, headers, log)

        print(
            f"\n{CUTS + 1} power cuts took {box.lost_bytes >> 10} KiB and {box.lost_names} names that were not flushed;"
            f" {len(log.blobs)} blobs and {len(log.tags)} of {len(log.tried)} images acknowledged, {whole} whole"
        )
        assert box.lost_bytes > 0, "no cut met anything that was not flushed"
        assert log.tags
        for _ in range(2):  # the second one takes what had become of the uploads that the first one ends
            swept = storage(box.server, "sweep", "--idle=0", "--force")
            assert swept.returncode == 0, swept.stderr
        checked = storage(box.server, "check")
        assert checked.returncode == 0, checked.stdout


def test_a_disk_that_only_says_that_it_flushes_loses_what_was_acknowledged(tmp_path: Path) -> None:
    with machine(tmp_path, ignores_fsync=True) as box:
        headers = sign_in(box.server, admin(box.server), SCOPE)
        content = make_image(layer_bytes=100_000).blobs[1]
        with httpx.Client(base_url=box.server.url, headers=headers, timeout=TIMEOUT_S) as client:
            push_blob(client, REPOSITORY, content)
            assert client.get(f"/v2/{REPOSITORY}/blobs/{digest_of(content)}").content == content
        assert _files_with(box.disk.folder, content)

        box.cut_power(kept=0)

        assert not _files_with(box.disk.folder, content), "the test does not see what a power cut takes"


def _files_with(folder: Path, content: bytes) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if path.read_bytes() == content]
