"""`kill -9` of workers while images come in: what was acknowledged is there, what was not is whole or gone."""

import os
import random
import secrets
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import pytest

from tests.conftest import ServerFactory
from tests.faults.test_sweep import storage
from tests.support.people import admin, create_project
from tests.support.registry import TIMEOUT_S, Image, digest_of, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server

KILLS = 200 if os.environ.get("TEST_FULL") == "1" else 10
WORKERS = 3
PUSHERS = 4
LAYER_BYTES = (1 << 10, 3 << 20)
PAUSE_S = (0.05, 1.5)


@dataclass
class Log:
    """What the pushers tried: each image under a tag of its own, and what the registry acknowledged of it."""

    tried: dict[str, Image] = field(default_factory=dict)
    blobs: list[bytes] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)


@dataclass
class Killer:
    """Kills single workers, and starts the server again when it has given up."""

    server: Server
    kills: int = 0
    restarts: int = 0

    def run(self, *, times: int) -> None:
        chance = random.Random()
        while self.kills < times:
            threading.Event().wait(chance.uniform(*PAUSE_S))  # the moment is what is random
            self._kill_one(chance)

    def _kill_one(self, chance: random.Random) -> None:
        workers = self.server.pids()[1:]  # the first is their parent
        if not workers:
            self._restart()
            return
        try:
            os.kill(chance.choice(workers), signal.SIGKILL)
        except ProcessLookupError:
            return
        self.kills += 1

    def _restart(self) -> None:
        # The server ends by itself when a worker dies within seconds of being started: a crash loop.
        self.restarts += 1
        self.server.kill()
        self.server.start()


@pytest.mark.slow
def test_pushes_survive_the_death_of_workers_at_any_moment(start_server: ServerFactory, unique: str) -> None:
    server = start_server(PORTOLAN_WORKERS=str(WORKERS))
    create_project(server, unique)
    repository = f"{unique}/app"
    headers = sign_in(server, admin(server), f"repository:{repository}:pull,push")
    log, killer, over = Log(), Killer(server), threading.Event()

    with ThreadPoolExecutor(PUSHERS) as pool:
        pushers = [pool.submit(_push_until, over, server, repository, headers, log) for _ in range(PUSHERS)]
        try:
            killer.run(times=KILLS)
            server.kill()
        finally:
            over.set()
        for pusher in pushers:
            pusher.result()
    server.start()

    whole = _assert_all_or_nothing(server, repository, headers, log)
    print(
        f"\n{killer.kills} kills, {killer.restarts} restarts; {len(log.tried)} pushes, {len(log.tags)} acknowledged,"
        f" {whole - len(log.tags)} more whole"
    )
    assert len(log.tags) > 0
    assert len(log.tried) > len(log.tags), "no push was ever interrupted"
    _assert_only_abandoned_uploads(server)


def _push_until(over: threading.Event, server: Server, repository: str, headers: dict[str, str], log: Log) -> None:
    while not over.is_set():
        tag, image = f"v-{secrets.token_hex(8)}", make_image(layer_bytes=random.randint(*LAYER_BYTES))
        log.tried[tag] = image
        try:
            _push(server, repository, headers, tag, image, log)
        except httpx.HTTPError:
            over.wait(0.05)


def _push(server: Server, repository: str, headers: dict[str, str], tag: str, image: Image, log: Log) -> None:
    with httpx.Client(base_url=server.url, headers=headers, timeout=TIMEOUT_S) as client:
        for content in image.blobs:
            push_blob(client, repository, content)
            log.blobs.append(content)
        put_manifest(client, repository, tag, image)
        log.tags.append(tag)


def _assert_all_or_nothing(server: Server, repository: str, headers: dict[str, str], log: Log) -> int:
    """What was acknowledged reads back, and every visible manifest is whole; how many are visible."""
    visible = 0
    with httpx.Client(base_url=server.url, headers=headers, timeout=TIMEOUT_S) as client:
        for content in log.blobs:
            _assert_blob(client, repository, content)
        for tag, image in log.tried.items():
            visible += _assert_whole_or_absent(client, repository, tag, image, is_acknowledged=tag in log.tags)
    return visible


def _assert_whole_or_absent(
    client: httpx.Client, repository: str, tag: str, image: Image, *, is_acknowledged: bool
) -> bool:
    by_tag = client.get(f"/v2/{repository}/manifests/{tag}")
    by_digest = client.get(f"/v2/{repository}/manifests/{image.digest}")
    assert by_tag.status_code == by_digest.status_code, "a tag and its manifest come together"
    if by_tag.status_code == 404:
        assert not is_acknowledged, f"{tag} was acknowledged and is gone"
        return False
    assert by_tag.content == by_digest.content == image.manifest
    for content in image.blobs:
        _assert_blob(client, repository, content)
    return True


def _assert_blob(client: httpx.Client, repository: str, content: bytes) -> None:
    answer = client.get(f"/v2/{repository}/blobs/{digest_of(content)}")
    assert answer.status_code == 200
    assert answer.content == content


def _assert_only_abandoned_uploads(server: Server) -> None:
    """Dead writers leave uploads, and objects that were to be deleted after a commit; the sweep removes both."""
    print(storage(server, "check").stdout)
    swept = storage(server, "sweep", "--idle=0")
    assert swept.returncode == 0, swept.stderr
    print(swept.stdout)
    checked = storage(server, "check")
    assert checked.returncode == 0, checked.stdout
    assert "0 uploads under way" in checked.stdout
