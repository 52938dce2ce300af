"""`kill -9` of workers while images come in: what was acknowledged is there, what was not is whole or gone."""

import os
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest

from registry_core.wiring.workers import YOUNG_DEATHS
from tests.conftest import ServerFactory
from tests.faults.pushing import Log, assert_all_or_nothing, push_until
from tests.faults.test_sweep import storage
from tests.support.extent import IS_FULL
from tests.support.people import admin, create_project
from tests.support.registry import sign_in
from tests.support.server import Server
from tests.support.waiting import wait_until

KILLS = 200 if IS_FULL else 6
WORKERS = 3
PUSHERS = 4
PAUSE_S = (0.05, 1.5)


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
        # The server ends by itself when one worker dies again and again within seconds of being started.
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
        pushers = [pool.submit(push_until, over, server, repository, headers, log) for _ in range(PUSHERS)]
        try:
            killer.run(times=KILLS)
            server.kill()
        finally:
            over.set()
        for pusher in pushers:
            pusher.result()
    server.start()

    whole = assert_all_or_nothing(server, repository, headers, log)
    print(
        f"\n{killer.kills} kills, {killer.restarts} restarts; {len(log.tried)} pushes, {len(log.tags)} acknowledged,"
        f" {whole - len(log.tags)} more whole"
    )
    assert len(log.tags) > 0
    assert len(log.tried) > len(log.tags), "no push was ever interrupted"
    _assert_only_abandoned_uploads(server)


def test_a_worker_that_dies_twice_in_a_row_takes_nobody_with_it(start_server: ServerFactory) -> None:
    server = start_server(PORTOLAN_WORKERS="2")
    parent = server.pids()[0]
    for _ in range(3):
        _kill_and_await_successor(server)
    assert server.pids()[0] == parent
    assert httpx.get(f"{server.url}/api/v2.0/ping", timeout=30).status_code == 200


def test_a_worker_that_can_never_stay_ends_the_server(start_server: ServerFactory) -> None:
    server = start_server(PORTOLAN_WORKERS="1")
    for _ in range(YOUNG_DEATHS):
        _kill_and_await_successor(server)
    os.kill(server.pids()[1], signal.SIGKILL)
    wait_until(lambda: server.pids() == [], what="the server gives up")
    assert "crash loop" in server.log_tail()


def _kill_and_await_successor(server: Server) -> None:
    """Kill the worker that was started last, and wait for the one in its place."""
    before = server.pids()
    os.kill(before[-1], signal.SIGKILL)

    def is_replaced() -> bool:
        now = server.pids()
        return before[-1] not in now and len(now) == len(before)

    wait_until(is_replaced, what="another worker takes its place")


def _assert_only_abandoned_uploads(server: Server) -> None:
    """Dead writers leave uploads, and objects that were to be deleted after a commit; sweeping removes both.

    The first sweep ends the uploads, the next one what those who died had made of them.
    """
    print(storage(server, "check").stdout)
    for _ in range(2):
        swept = storage(server, "sweep", "--idle=0", "--force")
        assert swept.returncode == 0, swept.stderr
        print(swept.stdout)
    checked = storage(server, "check")
    assert checked.returncode == 0, checked.stdout
    assert "0 uploads under way" in checked.stdout
